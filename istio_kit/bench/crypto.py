"""Runs `bench crypto`: operations per second of OpenSSL, raw crypto_mb and the engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from envoy_ext import artifacts
from envoy_ext.build import BuildError, build_driver
from envoy_ext.cpu import ifma_reason
from istio_kit.bench.figures import Figure, figure
from istio_kit.errors import InputError, KitError
from istio_kit.lab import host
from istio_kit.lab.process import clean_environment, supervised

SCHEMA_VERSION = 1
LANES = 8
# The driver makes one measurement of OpenSSL, and one per fill of the two others.
MEASUREMENTS = 1 + 2 * LANES
_SLACK_SECONDS = 60
# How much longer than its CPU time a measurement may take where others use the CPU, too.
_SHARED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoPlan:
    """What is asked of the benchmark."""

    algorithms: Sequence[str]
    repetitions: int
    seconds: float
    """Length of one measurement."""
    cpu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One measurement."""

    repetition: int
    algorithm: str
    subject: str
    """`openssl`, `crypto_mb` (its private-key function alone) or `engine` (of the module)."""
    fill: int
    """Operations that were given together."""
    operations: int
    seconds: float
    """CPU time."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Operations per second of CPU time, over the repetitions."""

    algorithm: str
    subject: str
    fill: int
    per_second: Figure


def run(plan: CryptoPlan, step: Callable[[str], None]) -> dict[str, Any]:
    """Measure; return the results, as `results.schema.json` says.

    Raises:
        KitError: a part is missing, or a measurement failed.
    """
    try:
        library, module_dir = artifacts.crypto_mb_path(), artifacts.module_dir()
        with TemporaryDirectory(prefix="istio_kit-bench-") as folder:
            source = Path(__file__).with_name("crypto_driver.c")
            driver = build_driver(Path(folder) / "driver", [source], libraries=["-lcrypto"])
            command = [str(driver), str(library or ""), str(module_dir)]
            rates, lines = _repeat(plan, command, step)
    except (artifacts.MissingArtifactError, BuildError) as error:
        raise KitError(str(error)) from error
    reason = ifma_reason()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "crypto",
        "plan": {**asdict(plan), "algorithms": list(plan.algorithms)},
        "host": host.facts(),
        "versions": {**host.versions(), **_libraries(lines)},
        "can_batch": reason is None,
        "cannot_batch_reason": reason,
        "break_even": _break_even(lines),
        "speeds": [asdict(speed) for speed in summarise(rates)],
        "samples": [asdict(rate) for rate in rates],
        "notes": [] if reason is None else [f"crypto_mb cannot batch on this CPU: {reason}"],
        "problems": [],
    }


def summarise(rates: Sequence[Rate]) -> list[Speed]:
    """Return one speed per algorithm, subject and fill, in the order of first appearance."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for rate in rates:
        key = (rate.algorithm, rate.subject, rate.fill)
        found.setdefault(key, []).append(rate.operations / rate.seconds)
    return [Speed(*key, figure(values)) for key, values in found.items()]


def _repeat(
    plan: CryptoPlan, command: Sequence[str], step: Callable[[str], None]
) -> tuple[list[Rate], list[list[str]]]:
    rates: list[Rate] = []
    others: list[list[str]] = []
    for repetition in range(1, plan.repetitions + 1):
        for algorithm in plan.algorithms:
            step(f"{algorithm}, repetition {repetition}/{plan.repetitions}")
            for words in _drive(plan, command, algorithm):
                if words[0] in ("version", "break_even"):
                    others.append([algorithm, *words])
                    continue
                subject, fill, operations, seconds = words
                rates.append(
                    Rate(
                        repetition=repetition,
                        algorithm=algorithm,
                        subject=subject,
                        fill=int(fill),
                        operations=int(operations),
                        seconds=float(seconds),
                    )
                )
    return rates, others


def _drive(plan: CryptoPlan, command: Sequence[str], algorithm: str) -> list[list[str]]:
    process = subprocess.Popen(
        supervised([*command, algorithm, f"{plan.seconds:g}"], (plan.cpu,)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment({}, drop_prefixes=("OPENSSL_",)),
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(
            timeout=_SHARED * MEASUREMENTS * plan.seconds + _SLACK_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise KitError(f"the measurement of {algorithm} did not end in time") from error
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        reason = errors.strip() or f"ended with status {process.returncode}"
        raise KitError(f"the measurement of {algorithm} failed: {reason}")
    return [line.split() for line in output.splitlines()]


def _libraries(lines: Sequence[list[str]]) -> dict[str, str]:
    texts = [" ".join(words[2:]) for words in lines if words[1] == "version"]
    return {
        "openssl" if text.startswith("OpenSSL") else "crypto_mb library": text
        for text in texts
        if text
    }


def _break_even(lines: Sequence[list[str]]) -> dict[str, int]:
    return {words[0]: int(words[2]) for words in lines if words[1] == "break_even"}


def new_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        InputError: there is something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is in use; name an empty or a new folder with --output-dir")
    folder.mkdir(parents=True, exist_ok=True)


def write(folder: Path, data: dict[str, Any]) -> None:
    """Write the results."""
    (folder / "results.json").write_text(json.dumps(data, indent=1) + os.linesep)
