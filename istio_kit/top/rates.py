"""Two readings of a proxy become rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rates:
    """What a proxy did between two readings, by its own clock."""

    proxy: str
    seconds: float
    operations_per_second: float
    """Private-key operations computed by the module: one for each full handshake."""
    batched_share: float | None
    """Of those, the share computed in batches, 0 to 1; None: there were none."""
    mean_fill: float | None
    """Lanes in use in a batch, 1 to 8; None: there was no batch."""
    cpu_cores: float
    """Processor time of the whole proxy, in cores."""
    left_per_second: float
    """Connections of the module's TLS contexts that Envoy signs for."""
    failed: int
    verify_failures: int
    lane_retries: int
    queue_depth: int
    """Now, as the following ones."""
    stalled_operations: int
    contexts_hooked: int
    contexts_left: dict[str, int]
    """By reason."""


def between(proxy: str, earlier: dict[str, Any], later: dict[str, Any]) -> Rates:
    """Return the rates between two readings of `/multibuffer`."""
    then, now = earlier["process"], later["process"]
    seconds = now["clock_seconds"] - then["clock_seconds"]
    gained = {name: _sum(later, name) - _sum(earlier, name) for name in _COUNTS}
    computed = gained["batched"] + gained["single"] + gained["failed"]
    batches = _batches(later) - _batches(earlier)
    contexts = dict(later["tls_contexts"])
    hooked = contexts.pop("hooked")
    return Rates(
        proxy=proxy,
        seconds=seconds,
        operations_per_second=computed / seconds,
        batched_share=gained["batched"] / computed if computed else None,
        mean_fill=gained["batched"] / batches if batches else None,
        cpu_cores=(now["cpu_seconds"] - then["cpu_seconds"]) / seconds,
        left_per_second=(later["connections_left"] - earlier["connections_left"]) / seconds,
        failed=gained["failed"],
        verify_failures=_gain(earlier, later, "verify_failures"),
        lane_retries=_gain(earlier, later, "lane_retries"),
        queue_depth=later["queue_depth"],
        stalled_operations=later["stalled_operations"],
        contexts_hooked=hooked,
        contexts_left={reason: count for reason, count in contexts.items() if count},
    )


_COUNTS = ("batched", "single", "failed")


def _sum(page: dict[str, Any], name: str) -> int:
    return sum(one[name] for one in page["total"]["algorithms"].values())


def _batches(page: dict[str, Any]) -> int:
    return sum(sum(one["fill"]) for one in page["total"]["algorithms"].values())


def _gain(earlier: dict[str, Any], later: dict[str, Any], name: str) -> int:
    return int(later["total"][name] - earlier["total"][name])
