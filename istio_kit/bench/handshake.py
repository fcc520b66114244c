"""Runs `bench handshake`: every load against every variant, interleaved."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from envoy_ext.cpu import ifma_reason
from istio_kit.bench.figures import summarise
from istio_kit.bench.fortio_json import of_fortio, of_k6
from istio_kit.bench.gateway import Gateways
from istio_kit.bench.plan import Case, Plan
from istio_kit.bench.sample import METRICS, Sample, problems
from istio_kit.bench.store import Store, as_dicts
from istio_kit.errors import KitError
from istio_kit.lab import host

SCHEMA_VERSION = 1
_WARM_UP_SECONDS = 0.5
_CLIENT_BUSY = 0.95
_GATEWAY_IDLE = 0.9


class Progress(Protocol):
    """Is told what goes on."""

    def expect(self, steps: int) -> None:
        """Tell how many steps there will be."""

    def step(self, text: str) -> None:
        """Tell that a step begins."""


def header(plan: Plan) -> dict[str, Any]:
    """Return what has to be the same for samples to be of one benchmark."""
    return {"plan": plan.as_dict(), "host": host.facts(), "versions": host.versions()}


def run(plan: Plan, store: Store, progress: Progress) -> dict[str, Any]:
    """Measure what `store` does not hold yet; return the results, as `results.schema.json` says.

    Raises:
        KitError: a part is missing, or a process cannot be run.
    """
    with TemporaryDirectory(prefix="istio_kit-bench-") as folder, ExitStack() as running:
        gateways = Gateways(plan, Path(folder), running)
        progress.expect(plan.samples)
        for key in plan.keys:
            _warm_up(plan, gateways, plan.closed(key)[0])
            _measure(plan, gateways, store, progress, plan.closed(key))
            _measure(plan, gateways, store, progress, plan.open(key, _capacity(store, key)))
        return _results(plan, store, gateways)


def _warm_up(plan: Plan, gateways: Gateways, case: Case) -> None:
    for variant in plan.variants:
        gateways.sample(case, variant, 0, _WARM_UP_SECONDS)


def _capacity(store: Store, key: str) -> float:
    """Return what the stock Envoy did at best in the closed loop, per second."""
    best: dict[Case, list[float]] = {}
    for sample in store.samples:
        if sample.variant == "stock" and sample.key == key and sample.loop == "closed":
            best.setdefault(sample.case, []).append(METRICS["handshakes_per_second"](sample))
    return max((statistics.median(rates) for rates in best.values()), default=0.0)


def _measure(
    plan: Plan, gateways: Gateways, store: Store, progress: Progress, cases: Sequence[Case]
) -> None:
    for repetition in range(1, plan.repetitions + 1):
        for case in cases:
            for sample, raw in _side_by_side(plan, gateways, store, progress, repetition, case):
                store.add(sample, raw)


def _side_by_side(
    plan: Plan,
    gateways: Gateways,
    store: Store,
    progress: Progress,
    repetition: int,
    case: Case,
) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Measure all variants one after the other, unless all of them are in the store."""
    have = [one for one in store.samples if one.case == case and one.repetition == repetition]
    if len(have) < len(plan.variants):
        # Figures are compared only with figures of the same run: a torn set is taken anew.
        store.samples = [one for one in store.samples if one not in have]
    for variant in plan.order(repetition):
        progress.step(f"{case}, repetition {repetition}/{plan.repetitions}, {variant}")
        if len(have) < len(plan.variants):
            sample = gateways.sample(case, variant, repetition, plan.seconds)
            yield sample, _raw(gateways, sample)


def _raw(gateways: Gateways, sample: Sample) -> dict[str, Any]:
    """Return the load generator's own account in Fortio's format."""
    labels = f"{sample.variant} {sample.case} #{sample.repetition}"
    data = json.loads(gateways.raw_result(sample.tool).read_text())
    return of_fortio(data, labels) if sample.tool == "fortio" else of_k6(data, sample, labels)


def _results(plan: Plan, store: Store, gateways: Gateways) -> dict[str, Any]:
    reason = ifma_reason()
    found = [
        text for sample in store.samples for text in problems(sample, can_batch=reason is None)
    ]
    log = gateways.logs().get("module", "").splitlines()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "handshake",
        **header(plan),
        "can_batch": reason is None,
        "cannot_batch_reason": reason,
        "module_log": [line for line in log if "multibuffer:" in line],
        "commands": gateways.commands,
        "cases": [result.as_dict() for result in summarise(store.samples)],
        "samples": as_dicts(store.samples),
        "notes": notes(plan, store.samples),
        "problems": found,
    }


def notes(plan: Plan, samples: Sequence[Sample]) -> list[str]:
    """Say what limits the figures."""
    found = []
    if set(plan.gateway_cpus) & set(plan.client_cpus) or not plan.gateway_cpus:
        found.append("gateway and load generator share CPUs: rates and times are of both")
    bound = [
        sample
        for sample in samples
        if sample.connections > 1
        and sample.rate is None
        and sample.client_cpu_seconds > _CLIENT_BUSY * sample.seconds * len(plan.client_cpus)
        and sample.envoy_cpu_seconds < _GATEWAY_IDLE * sample.seconds * len(plan.gateway_cpus)
    ]
    if bound:
        found.append(
            f"in {len(bound)} of {len(samples)} samples the load generator's CPUs were busy and "
            "Envoy's were not: Envoy could have done more"
        )
    return found


def check_parts(plan: Plan) -> None:
    """Find a missing part before anything is started.

    Raises:
        KitError: something is missing; the message says how to get it.
    """
    from envoy_ext import artifacts
    from istio_kit.lab.fortio import fortio_path
    from istio_kit.lab.k6 import k6_path

    try:
        artifacts.envoy_path()
        artifacts.module_dir()
    except artifacts.MissingArtifactError as error:
        raise KitError(str(error)) from error
    if "k6" in plan.tools:
        k6_path()
    if "fortio" in plan.tools or plan.server:
        fortio_path()
