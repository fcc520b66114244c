"""Chooses a driver."""

from __future__ import annotations

from collections.abc import Sequence

from e2e.driver import Driver
from e2e.local import LocalDriver
from istio_kit.lab import can_isolate

DRIVERS = ("local",)


def choose(
    name: str, *, gateway_cpus: Sequence[int], client_cpus: Sequence[int], loopback: bool
) -> Driver:
    """Return the driver of that name; `auto` takes the first that lacks nothing."""
    del name  # one driver so far
    return LocalDriver(gateway_cpus, client_cpus, isolated=not loopback and can_isolate())
