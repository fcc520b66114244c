"""Samples as the benchmark's own code makes them, and the benchmark as its users run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from istio_kit.bench.sample import Sample

SMALL = (
    *("--variant", "stock", "--variant", "module", "--tool", "k6", "--key", "p256"),
    *("--connections", "4", "--rates", "50", "--seconds", "1"),
)


def sample(**changes: object) -> Sample:
    """Return a sound sample of the module, with `changes`."""
    values: dict[str, object] = {
        "repetition": 1,
        "variant": "module",
        "key": "rsa2048",
        "tool": "k6",
        "loop": "closed",
        "connections": 64,
        "rate": None,
        "handshakes": 1000,
        "failed": 0,
        "not_started": 0,
        "warm_up": 0,
        "seconds": 2.0,
        "envoy_cpu_seconds": 0.5,
        "client_cpu_seconds": 1.0,
        "envoy_connections": 1000,
        "envoy_handshakes": 1000,
        "envoy_requests": 1000,
        "envoy_resumed": 0,
        "batched": 900,
        "single": 100,
        "unsigned": 0,
        "fill": [0, 0, 0, 0, 0, 0, 100, 25],
        "command": "k6 run",
    }
    for name in ("tls", "request"):
        for number, percentile in enumerate(("p50", "p90", "p99", "p999"), start=1):
            values[f"{name}_{percentile}_ms"] = float(number)
    return Sample.from_dict({**values, **changes})


def stock(**changes: object) -> Sample:
    """Return a sound sample of the stock Envoy."""
    return sample(**{"variant": "stock", "batched": 0, "single": 0, "fill": [], **changes})


def bench(*options: str | Path) -> list[str]:
    """Return the command line of the benchmark."""
    return [sys.executable, "-m", "istio_kit", "bench", *map(str, options)]


def run(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
