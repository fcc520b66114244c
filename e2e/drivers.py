"""Chooses a driver."""

from __future__ import annotations

from collections.abc import Sequence

from e2e.driver import Driver
from e2e.istiod import IstiodDriver
from e2e.kind import KindDriver
from e2e.local import LocalDriver
from istio_kit.lab import can_isolate

DRIVERS = ("local", "istiod", "kind")


def choose(
    name: str, *, gateway_cpus: Sequence[int], client_cpus: Sequence[int], loopback: bool
) -> Driver:
    """Return the driver of that name; `auto` takes kind where nothing lacks, else the local one."""
    if name == "kind" or (name == "auto" and not KindDriver().missing()):
        return KindDriver()
    if name == "istiod":
        return IstiodDriver(gateway_cpus, client_cpus)
    return LocalDriver(gateway_cpus, client_cpus, isolated=not loopback and can_isolate())
