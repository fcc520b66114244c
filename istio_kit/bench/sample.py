"""One measurement, and whether it may be believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from istio_kit.bench.plan import Case, Variant
from istio_kit.lab.certs import KeyType

GOOD_SHARE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of a load generator against one Envoy. Times are milliseconds unless named."""

    repetition: int
    variant: Variant
    key: KeyType
    tool: str
    loop: str
    """`closed` or `open`."""
    connections: int
    rate: float | None
    """Requests that were to be started per second; None in the closed loop."""
    handshakes: int
    """Requests that were answered, each on a new connection."""
    failed: int
    not_started: int
    """Open loop: requests for which no client was free. Not an error: that is saturation."""
    warm_up: int
    """Handshakes that the load generator made before it began to count."""
    seconds: float
    tls_p50_ms: float
    tls_p90_ms: float
    tls_p99_ms: float
    tls_p999_ms: float
    request_p50_ms: float
    request_p90_ms: float
    request_p99_ms: float
    request_p999_ms: float
    envoy_cpu_seconds: float
    client_cpu_seconds: float
    envoy_connections: int
    """What Envoy counted meanwhile, here and below."""
    envoy_handshakes: int
    envoy_requests: int
    envoy_resumed: int
    batched: int
    """Private-key operations of the module, by how they were done; 0 for the stock Envoy."""
    single: int
    unsigned: int
    """Operations of the module that failed or were dropped."""
    fill: list[int] = field(default_factory=list)
    """Batches with 1, 2, … 8 operations in them."""
    command: str
    """Of the load generator."""

    @property
    def case(self) -> Case:
        """The load."""
        return Case(self.key, self.tool, self.connections, self.rate)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sample:
        """Return a sample from JSON data; TypeError when fields are missing or unknown."""
        return cls(**data)


METRICS: dict[str, Callable[[Sample], float]] = {
    "handshakes_per_second": lambda sample: sample.handshakes / sample.seconds,
    "tls_p50_ms": lambda sample: sample.tls_p50_ms,
    "tls_p90_ms": lambda sample: sample.tls_p90_ms,
    "tls_p99_ms": lambda sample: sample.tls_p99_ms,
    "tls_p999_ms": lambda sample: sample.tls_p999_ms,
    "request_p50_ms": lambda sample: sample.request_p50_ms,
    "request_p90_ms": lambda sample: sample.request_p90_ms,
    "request_p99_ms": lambda sample: sample.request_p99_ms,
    "request_p999_ms": lambda sample: sample.request_p999_ms,
    "envoy_cpu_us_per_handshake": lambda sample: (
        sample.envoy_cpu_seconds * 1e6 / max(sample.envoy_handshakes, 1)
    ),
    "envoy_cpu_share": lambda sample: sample.envoy_cpu_seconds / sample.seconds,
    "client_cpu_share": lambda sample: sample.client_cpu_seconds / sample.seconds,
}
"""Figures of one sample. Shares are of one CPU."""


def problems(sample: Sample, *, can_batch: bool) -> list[str]:
    """Return why a sample must not be believed; none: it may."""
    found = []
    asked = sample.handshakes + sample.failed
    if not sample.handshakes or sample.handshakes < GOOD_SHARE * asked:
        found.append(f"{sample.handshakes} of {asked} requests were answered")
    least = sample.handshakes + sample.warm_up
    if not least <= sample.envoy_handshakes <= least + sample.failed:
        found.append(f"Envoy counted {sample.envoy_handshakes} handshakes, not {least}")
    if not sample.envoy_connections == sample.envoy_handshakes == sample.envoy_requests:
        found.append(
            f"Envoy counted {sample.envoy_connections} connections, {sample.envoy_handshakes} "
            f"handshakes and {sample.envoy_requests} requests, which should be the same number"
        )
    if sample.envoy_resumed:
        found.append(f"{sample.envoy_resumed} handshakes resumed a session")
    signed = sample.batched + sample.single
    must_sign = sample.variant == "single" or (sample.variant == "module" and can_batch)
    if sample.variant == "stock" and signed:
        found.append(f"the module signed {signed} times where it should not be")
    if must_sign and signed != sample.envoy_handshakes:
        found.append(f"the module signed {signed} of {sample.envoy_handshakes} handshakes")
    where = f"repetition {sample.repetition}, {sample.case}, {sample.variant}"
    return [f"{where}: {text}" for text in found]
