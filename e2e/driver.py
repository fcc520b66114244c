"""What the scenarios need of whatever runs them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Literal, Protocol, Self, TypeAlias

from e2e.scenario import Hop, Scenario
from istio_kit.lab import Certificate, LoadResult

Tool: TypeAlias = Literal["k6", "fortio"]


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts of one proxy since it started, or the difference of two readings."""

    connections: int
    """Accepted."""
    handshakes: int
    """Of accepted connections."""
    resumed: int
    """Handshakes that resumed a session, which takes no private-key operation."""
    requests: int
    upstream_connections: int
    upstream_handshakes: int
    signed: int
    """Private-key operations that the module completed."""

    def __sub__(self, earlier: Self) -> Self:
        values = {
            field.name: getattr(self, field.name) - getattr(earlier, field.name)
            for field in fields(self)
        }
        return type(self)(**values)


class Deployment(Protocol):
    """A scenario that runs."""

    scenario: Scenario
    allowed: Sequence[str]
    """Regular expressions of warnings that belong to the driver."""

    def load(
        self, tool: Tool, *, seconds: float, connections: int, rate: float | None = None
    ) -> LoadResult:
        """Load the first hop from the client's node."""

    def counters(self, hop: str) -> Counters:
        """Return the counts of a proxy."""

    def signatures(self, hop: Hop) -> int:
        """Return how many operations of the module one request costs at `hop`."""

    def log(self, hop: str) -> str:
        """Return what a proxy has logged so far."""

    def rotate(self, hop: str) -> Certificate:
        """Give a proxy a new certificate for its listener, and wait until it has taken it up."""


class Driver(Protocol):
    """Knows how to run scenarios."""

    @property
    def name(self) -> str:
        """How the user calls it."""

    def missing(self) -> Sequence[str]:
        """Return what is not here and has to be; none: the driver can run."""

    def runs(self, scenario: Scenario) -> bool:
        """Return whether this driver can do the scenario."""

    def deploy(self, scenario: Scenario) -> AbstractContextManager[Deployment]:
        """Run a scenario inside a `with` block; nothing of it is left afterwards."""
