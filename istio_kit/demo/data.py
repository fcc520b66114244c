"""What the demo measures, and how samples become figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

SCHEMA_VERSION = 1

Target: TypeAlias = Literal["stock", "module"]
TARGETS: tuple[Target, Target] = ("stock", "module")

METRICS: dict[str, Callable[[Sample], float]] = {
    "handshakes_per_second": lambda sample: sample.handshakes / sample.seconds,
    "tls_p50_ms": lambda sample: sample.tls_p50_ms,
    "tls_p90_ms": lambda sample: sample.tls_p90_ms,
    "tls_p99_ms": lambda sample: sample.tls_p99_ms,
    "request_p50_ms": lambda sample: sample.request_p50_ms,
    "request_p99_ms": lambda sample: sample.request_p99_ms,
    "envoy_cpu_us_per_handshake": lambda sample: (
        sample.envoy_cpu_seconds * 1e6 / max(sample.handshakes, 1)
    ),
    "envoy_cpu_share": lambda sample: sample.envoy_cpu_seconds / sample.seconds,
    "client_cpu_share": lambda sample: sample.client_cpu_seconds / sample.seconds,
}
"""Figures of one sample. Shares are of one CPU, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of k6 against one Envoy. Times as named; TLS is the handshake alone."""

    round: int
    target: Target
    connections: int
    handshakes: int
    failed: int
    seconds: float
    tls_p50_ms: float
    tls_p90_ms: float
    tls_p99_ms: float
    request_p50_ms: float
    request_p90_ms: float
    request_p99_ms: float
    envoy_cpu_seconds: float
    client_cpu_seconds: float
    operations: dict[str, int] = field(default_factory=dict)
    """The module's own count by outcome, empty for the stock Envoy."""
    fill: list[int] = field(default_factory=list)
    """Batches computed with 1, 2, … 8 operations in them."""

    @property
    def signed(self) -> int:
        """Private-key operations that the module completed."""
        return self.operations.get("batched", 0) + self.operations.get("single", 0)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Case:
    """All rounds at one number of connections."""

    connections: int
    figures: dict[Target, dict[str, Spread]]
    ratios: dict[str, Spread]
    """Module divided by stock, by metric; each round's pair gives one ratio."""
    operations: dict[str, int]
    fill: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that the demo found out."""

    cpu: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    batching: bool
    """False: the module stood aside, because of `reason`."""
    reason: str | None
    module_log: list[str]
    keys: dict[str, int]
    cases: list[Case]
    samples: list[Sample]
    commands: dict[str, str]
    notes: list[str]
    problems: list[str]
    """Why the demo failed; empty when it did not."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": not self.problems,
            "failed_handshakes": sum(sample.failed for sample in self.samples),
            **asdict(self),
        }


def spread(values: Sequence[float]) -> Spread:
    """Return median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def summarise(samples: Sequence[Sample]) -> list[Case]:
    """Return one case per number of connections, in the order of first appearance."""
    numbers = list(dict.fromkeys(sample.connections for sample in samples))
    return [
        _case(number, [sample for sample in samples if sample.connections == number])
        for number in numbers
    ]


def _case(connections: int, samples: Sequence[Sample]) -> Case:
    by_target = {
        target: [sample for sample in samples if sample.target == target] for target in TARGETS
    }
    pairs = list(zip(by_target["stock"], by_target["module"], strict=True))
    figures: dict[Target, dict[str, Spread]] = {
        target: {
            name: spread([metric(sample) for sample in by_target[target]])
            for name, metric in METRICS.items()
        }
        for target in TARGETS
    }
    ratios = {
        name: spread([metric(module) / metric(stock) for stock, module in pairs])
        for name, metric in METRICS.items()
        # A sample without a single handshake has no percentiles to compare.
        if all(metric(stock) > 0 for stock, _ in pairs)
    }
    return Case(
        connections=connections,
        figures=figures,
        ratios=ratios,
        operations=_add_counts([sample.operations for sample in by_target["module"]]),
        fill=[sum(column) for column in zip(*(s.fill for s in by_target["module"]), strict=True)],
    )


def _add_counts(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(count[name] for count in counts) for name in counts[0]}
