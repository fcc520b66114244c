"""What `bench handshake` measures, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from istio_kit.lab.certs import KeyType
from istio_kit.lab.config import TlsVersion

Variant: TypeAlias = Literal["stock", "module", "single"]
VARIANTS: tuple[Variant, ...] = ("stock", "module", "single")
"""Stock Envoy; the module with batches; the module with the policy `off`."""

Tool: TypeAlias = Literal["k6", "fortio"]
TOOLS: tuple[Tool, ...] = ("k6", "fortio")

# Open loop: shares of what the stock Envoy did in the closed loop. Above 1 it is saturated.
RATE_SHARES = (0.25, 0.5, 0.75, 0.9, 1.1, 1.5, 2.0)
OPEN_CONNECTIONS = 256


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One load, given to every variant."""

    key: KeyType
    tool: Tool
    connections: int
    """Closed loop: clients. Open loop: the most that may be in flight."""
    rate: float | None = None
    """Requests started per second; None: closed loop."""

    def __str__(self) -> str:
        """Return what distinguishes it, for people and for file names."""
        load = f"c{self.connections}" if self.rate is None else f"r{self.rate:g}"
        return f"{self.key}-{self.tool}-{load}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked of the benchmark."""

    keys: Sequence[KeyType]
    tls: TlsVersion
    tools: Sequence[Tool]
    variants: Sequence[Variant]
    connections: Sequence[int]
    rates: Sequence[float]
    """Requests per second; none: shares of what the stock Envoy can do (`RATE_SHARES`)."""
    rate_shares: Sequence[float]
    repetitions: int
    seconds: float
    """Length of one sample."""
    gateway_cpus: Sequence[int]
    client_cpus: Sequence[int]
    isolated: bool
    """Whether client and gateway have network namespaces of their own."""
    server: bool
    """Whether the gateway passes requests to a Fortio server, or answers by itself."""

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    def closed(self, key: KeyType) -> list[Case]:
        """Return the cases of the closed loop."""
        return [Case(key, tool, number) for tool in self.tools for number in self.connections]

    def open(self, key: KeyType, capacity: float) -> list[Case]:
        """Return the cases of the open loop; `capacity` is the stock Envoy's, per second."""
        rates = self.rates or [_round(share * capacity) for share in self.rate_shares]
        return [
            Case(key, tool, OPEN_CONNECTIONS, rate)
            for tool in self.tools
            for rate in dict.fromkeys(rates)
        ]

    def order(self, repetition: int) -> Iterator[Variant]:
        """Yield the variants; each repetition begins with another one."""
        start = repetition % len(self.variants)
        yield from self.variants[start:]
        yield from self.variants[:start]

    @property
    def samples(self) -> int:
        """How many samples there will be."""
        loads = len(self.connections) + len(self.rates or self.rate_shares)
        cases = len(self.keys) * len(self.tools) * loads
        return cases * self.repetitions * len(self.variants)


def _round(rate: float) -> float:
    """Return two leading digits: a rate that people can read, and repeat."""
    return float(f"{rate:.2g}")
