"""Checks of this host: what the module needs to find and to be allowed."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envoy_ext import __version__, artifacts, elf
from envoy_ext.engine import Engine, EngineError
from envoy_ext.stats import ALGORITHMS
from istio_kit.doctor.result import Check, fail, ok, warn

MODULE = "libmultibuffer.so"
LIBRARY = "libcrypto_mb.so.13"
SEARCH_PATH = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH"

# docs/configuration.md, "Limits of the process".
_WORKER_BYTES = 200 * 1024
_KEY_BYTES = 8 * 1024
_CAP_IPC_LOCK = 14  # bit, linux/capability.h


@dataclass(frozen=True, slots=True)
class Host:
    """What is looked at: the module's folder, and the environment that Envoy would get."""

    folder: Path
    environment: Mapping[str, str]

    @classmethod
    def here(cls, module_dir: Path | None) -> Host:
        """Return this host with the given folder, else the one in use.

        In use is the search path's, else the one that was installed with the kit.

        Raises:
            MissingArtifactError: no folder is given and none has the module.
        """
        variable = os.environ.get(SEARCH_PATH)
        folder = module_dir or (Path(variable) if variable else artifacts.module_dir())
        return cls(folder, os.environ)


def checks(host: Host) -> list[Check]:
    """Return all checks of the host."""
    return [
        processor(),
        *engine(host),
        module(host),
        glibc(host),
        search_path(host),
        locked_memory(),
    ]


def processor() -> Check:
    """Check the architecture: the module and crypto_mb exist for x86-64 only."""
    machine = platform.machine()
    if machine == "x86_64":
        return ok("processor", machine)
    remedy = "run Envoy on x86-64; elsewhere leave it as it is"
    return fail("processor", f"{machine}: the module is for x86-64 only", remedy)


def engine(host: Host) -> list[Check]:
    """Load crypto_mb and OpenSSL as the module does, and ask what this CPU can batch."""
    library = host.folder / LIBRARY
    path = library if library.exists() else artifacts.crypto_mb_path()
    try:
        loaded = Engine(library=path)
        reason = loaded.lanes_reason()
        lanes, openssl = loaded.versions()
    except (EngineError, artifacts.MissingArtifactError, OSError) as error:
        remedy = "make the reason go away; until then the module stands aside and Envoy signs"
        return [fail("signing engine", str(error), remedy)]
    found = [ok("OpenSSL", openssl)]
    if reason:
        return [*found, _no_lanes(reason, path)]
    found.append(ok("crypto_mb", lanes))
    return [*found, *(_algorithm(loaded, name) for name in ALGORITHMS)]


def _no_lanes(reason: str, path: Path | None) -> Check:
    if path is None:
        remedy = f"put {LIBRARY} beside the module (istio_kit package), or: pip install ipp-crypto"
        return fail("crypto_mb", reason, remedy)
    if "CPU" in reason:
        remedy = "use nodes with AVX-512 IFMA (Intel Ice Lake, AMD Zen 4, newer); Envoy signs here"
        return warn("crypto_mb", reason, remedy)
    remedy = f"check that {path} and what it needs are whole: istio_kit package makes a full folder"
    return fail("crypto_mb", reason, remedy)


def _algorithm(loaded: Engine, name: str) -> Check:
    if loaded.can_batch(name):
        return ok(f"batches of {name}", "this CPU computes eight at a time")
    remedy = "none needed: such keys are signed one at a time; a CPU with AVX-512 IFMA batches them"
    return warn(f"batches of {name}", "crypto_mb does not serve it on this CPU", remedy)


def module(host: Host) -> Check:
    """Check that the module is there, and is of the kit's own version."""
    path = host.folder / MODULE
    if not path.is_file():
        remedy = f"build it (make build), or name the folder with {MODULE}: --module-dir"
        return fail("module", f"{path} does not exist", remedy)
    try:
        elf.build_id(path)
        versions = elf.version_strings(path, prefix="")
    except (elf.ElfError, OSError, ValueError) as error:
        return fail("module", str(error), "copy it again: the file is damaged or not readable")
    if __version__ in versions:
        return ok("module", f"{path}, version {__version__}")
    found = ", ".join(versions) or "none"
    remedy = "install module and kit of one version"
    return warn("module", f"{path}: version {found}, this kit is {__version__}", remedy)


def glibc(host: Host) -> Check:
    """Compare this host's glibc with the newest that a library of the folder asks for."""
    name, version = platform.libc_ver()
    if name != "glibc":
        remedy = "use an image with glibc (Debian, Ubuntu, Wolfi); musl cannot load Envoy's modules"
        return fail("C library", f"{name or 'unknown'}, not glibc", remedy)
    here = tuple(map(int, version.split(".")[:2]))
    needs = {(2, 0): ""} | {_needed(path): path.name for path in sorted(host.folder.glob("*.so*"))}
    newest = max(needs)
    if here >= newest:
        return ok("C library", f"glibc {version}, needed {newest[0]}.{newest[1]}")
    detail = f"glibc {version}, but {needs[newest]} needs {newest[0]}.{newest[1]}"
    return fail("C library", detail, "use a newer image, or build the package on an older one")


def _needed(path: Path) -> tuple[int, int]:
    try:
        return elf.glibc_needed(path)
    except (elf.ElfError, OSError):
        return (2, 0)  # the check of the module reports damaged files


def search_path(host: Host) -> Check:
    """Check the variable that tells Envoy where modules are."""
    value = host.environment.get(SEARCH_PATH)
    if not value:
        remedy = f"set {SEARCH_PATH}={host.folder} in Envoy's environment"
        return warn("search path", f"{SEARCH_PATH} is not set here", remedy)
    if (Path(value) / MODULE).is_file():
        return ok("search path", f"{SEARCH_PATH}={value}")
    remedy = f"let it name the folder of {MODULE}, such as {host.folder}"
    return fail("search path", f"{SEARCH_PATH}={value} has no {MODULE}", remedy)


def locked_memory() -> Check:
    """Compare the limit of locked memory with the need of a worker for each CPU and one key.

    It is this process's limit: Envoy's own may differ when another user or unit starts it.
    """
    name = "locked memory"
    workers = len(os.sched_getaffinity(0))
    need = workers * _WORKER_BYTES + _KEY_BYTES
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if _may_lock() or soft == resource.RLIM_INFINITY:
        return ok(name, "not limited for this process")
    detail = f"limit {soft // 1024} KiB; {workers} workers and a key need {need // 1024} KiB"
    remedy = "raise it for Envoy: systemd LimitMEMLOCK=, ulimit -l, or the capability IPC_LOCK"
    if soft < _WORKER_BYTES + _KEY_BYTES:
        return fail(name, detail, remedy)
    return ok(name, detail) if soft >= need else warn(name, detail, remedy)


def _may_lock() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        field, _, value = line.partition(":")
        if field == "CapEff":
            return bool(int(value, 16) >> _CAP_IPC_LOCK & 1)
    return False
