"""A load of TLS handshakes, and what came of it: the same for every load generator."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from istio_kit.lab.certs import Certificate
from istio_kit.lab.config import TlsVersion
from istio_kit.lab.node import HOST, Node
from istio_kit.lab.process import LabError, describe, tail

REQUEST_TIMEOUT_SECONDS = 10
SLACK_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load generator is to do: a new connection, and so a handshake, per request."""

    url: str
    seconds: float
    connections: int = 64
    """Closed loop: this many clients, each asks again at once. Open loop: most at a time."""
    rate: float | None = None
    """Open loop: requests that are started per second; None: closed loop."""
    tls: TlsVersion | None = None
    """The only TLS version that is offered; None: both. Fortio always offers both."""
    cipher_suites: Sequence[str] = ()
    """Go's names, TLS 1.2 only; k6 alone."""
    ca: Path | None = None
    """Authority to check the server against; None saves the client's CPU and checks nothing."""
    client_certificate: Certificate | None = None
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Host name (also sent as SNI) -> address or address:port, instead of DNS."""
    node: Node = HOST
    """Where the load generator runs."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What the load generator saw."""

    handshakes: int
    """Requests that were answered with a status below 400, each on its own connection."""
    failed: int
    """Requests that were not, and those that were cut off or never started."""
    not_started: int
    """Open loop, part of `failed`: requests for which no client was free (k6 tells, Fortio not)."""
    warm_up: int
    """Further handshakes, made before the count began."""
    seconds: float
    rate: float
    """Handshakes per second."""
    tls: Percentiles
    """k6: the TLS handshake alone. Fortio: TCP connect and TLS handshake."""
    request: Percentiles
    """k6: TCP connect, TLS handshake and HTTP request together. Fortio: likewise."""
    cpu_seconds: float
    """User and system time of the load generator."""
    command: Sequence[str]


def run_generator(
    name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, seconds: float
) -> float:
    """Run a load generator to its end; return the CPU seconds that it took.

    Raises:
        LabError: it could not do its work, or did not end in time.
    """
    before = _children_cpu_seconds()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            status = process.wait(seconds + 2 * SLACK_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{name} did not end in time; its log:\n{tail(log)}") from error
        finally:
            process.kill()
            process.wait()
    if status != 0:
        raise LabError(f"{name} ended {describe(status)}; the end of its log:\n{tail(log)}")
    return _children_cpu_seconds() - before


def _children_cpu_seconds() -> float:
    """CPU time of all children that have ended; the generator is the only one that ends here."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
