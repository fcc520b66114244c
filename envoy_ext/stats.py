"""The module's counters, read from the file that it keeps them in (``stats_file``).

The layout is that of ``core/mbk_stats.h``; the test of the binding compares the sizes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

ALGORITHMS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
OUTCOMES = ("batched", "single", "failed", "dropped")
LANES = 8
TIMES = 20  # buckets of a duration: less than 1 µs, then 2^(i-1) to 2^i µs, the last one open

MAGIC = 0x5354415453424B
VERSION = 2
HEADER = struct.Struct("<QIIQQ8s24x")
COUNTERS = ("submitted", "verify_failures", "lane_errors", "lane_retries", "inline_ops")
BLOCK = struct.Struct(
    f"<{len(ALGORITHMS) * (len(OUTCOMES) + LANES + TIMES) + len(COUNTERS) + TIMES}Q"
)
_GAUGES = struct.calcsize("<2Q")  # behind each worker's counters; not read here
# Each worker's block starts on its own cache line.
BLOCK_STRIDE = -(-(BLOCK.size + _GAUGES) // 64) * 64


class StatsError(Exception):
    """The file is not one of the module's."""


@dataclass(frozen=True)
class ModuleStats:
    """Counts since the process started, over all workers; or the difference of two readings."""

    workers: int = 0
    ops: dict[str, dict[str, int]] = field(default_factory=dict)
    fill: dict[str, list[int]] = field(default_factory=dict)
    submitted: int = 0
    verify_failures: int = 0
    lane_errors: int = 0
    lane_retries: int = 0
    inline_ops: int = 0
    wait: list[int] = field(default_factory=list)
    """Operations computed, by the time that they waited; empty when there is no reading."""
    compute: dict[str, list[int]] = field(default_factory=dict)
    """Batches and single operations, by the time that computing took."""
    keys_hooked: int = 0
    keys_left: int = 0
    break_even: dict[str, int] = field(default_factory=dict)

    def total(self, *outcomes: str) -> int:
        """Operations of these outcomes, of any algorithm; without outcomes: all computed."""
        wanted = outcomes or ("batched", "single", "failed")
        return sum(by_outcome[name] for by_outcome in self.ops.values() for name in wanted)

    def signed(self, algorithm: str | None = None) -> int:
        """Operations that gave a verified result, of one algorithm or of all."""
        chosen = self.ops.values() if algorithm is None else [self.ops[algorithm]]
        return sum(by_outcome["batched"] + by_outcome["single"] for by_outcome in chosen)

    def __sub__(self, earlier: ModuleStats) -> ModuleStats:
        return ModuleStats(
            workers=self.workers,
            ops={
                name: {key: count - earlier.ops[name][key] for key, count in counts.items()}
                for name, counts in self.ops.items()
            },
            fill={name: _minus(counts, earlier.fill[name]) for name, counts in self.fill.items()},
            wait=_minus(self.wait, earlier.wait),
            compute={
                name: _minus(counts, earlier.compute[name]) for name, counts in self.compute.items()
            },
            keys_hooked=self.keys_hooked - earlier.keys_hooked,
            keys_left=self.keys_left - earlier.keys_left,
            break_even=self.break_even,
            **{name: getattr(self, name) - getattr(earlier, name) for name in COUNTERS},
        )


def _minus(counts: list[int], earlier: list[int]) -> list[int]:
    return [now - then for now, then in zip(counts, earlier, strict=True)]


def read(path: Path | str) -> ModuleStats:
    """Reads the counters; safe while the module is writing.

    Raises StatsError when the file is not complete or of another version.
    """
    data = Path(path).read_bytes()
    if len(data) < HEADER.size:
        raise StatsError(f"{path}: no module has written its counters here (file too short)")
    magic, version, workers, hooked, left, break_even = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise StatsError(f"{path}: not a counter file of this version of the module")
    if len(data) < HEADER.size + workers * BLOCK_STRIDE:
        raise StatsError(f"{path}: file is cut short")
    sums = [0] * (BLOCK.size // 8)
    for worker in range(workers):
        block = BLOCK.unpack_from(data, HEADER.size + worker * BLOCK_STRIDE)
        sums = [total + value for total, value in zip(sums, block, strict=True)]
    values = iter(sums)
    ops = {name: {key: next(values) for key in OUTCOMES} for name in ALGORITHMS}
    fill = {name: [next(values) for _ in range(LANES)] for name in ALGORITHMS}
    counters = {name: next(values) for name in COUNTERS}
    return ModuleStats(
        workers=workers,
        ops=ops,
        fill=fill,
        wait=[next(values) for _ in range(TIMES)],
        compute={name: [next(values) for _ in range(TIMES)] for name in ALGORITHMS},
        keys_hooked=hooked,
        keys_left=left,
        break_even=dict(zip(ALGORITHMS, break_even, strict=False)),
        **counters,
    )
