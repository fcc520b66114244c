"""Proves that the libraries of a package find all that they need, and nothing too new."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from envoy_ext import elf
from istio_kit.errors import KitError
from istio_kit.package.parts import LIBCRYPTO

#: What every image with glibc has.
GLIBC = frozenset(
    "ld-linux-x86-64.so.2 libc.so.6 libdl.so.2 libm.so.6 libpthread.so.0 librt.so.1".split()
)
_LOADER = Path("/lib64/ld-linux-x86-64.so.2")


def check(folder: Path, glibc: tuple[int, int], *, with_libcrypto: bool) -> None:
    """Check all libraries of an unpacked package for images with this ``glibc`` (major, minor).

    Raises:
        KitError: one is missing or needs a newer glibc; the text says which and why.
    """
    libraries = sorted(path for path in folder.iterdir() if ".so" in path.name)
    there = {path.name for path in libraries} | GLIBC
    if not with_libcrypto:
        there |= {LIBCRYPTO}
    for path in libraries:
        _check_needed(path, there)
        _check_glibc(path, glibc)
        if with_libcrypto:  # else the loader could not find it
            _check_loader(path, folder)


def _check_needed(path: Path, there: set[str]) -> None:
    missing = sorted(set(elf.needed_libraries(path)) - there)
    if missing:
        raise KitError(
            f"{path.name} needs {', '.join(missing)}, which the package does not have: "
            "its version is not the one that this kit was made for; install that one"
        )


def _check_glibc(path: Path, glibc: tuple[int, int]) -> None:
    needed = elf.glibc_needed(path)
    if needed <= glibc:
        return
    text = "{}.{}".format
    other = " or name another with --libcrypto (or --without-libcrypto)"
    raise KitError(
        f"{path.name} needs glibc {text(*needed)}, but the target has {text(*glibc)}: build the "
        f"package on an older system{other if path.name == LIBCRYPTO else ''}, or say "
        f"--glibc {text(*needed)} if no older image is meant"
    )


def _check_loader(path: Path, folder: Path) -> None:
    """Let the loader itself resolve the library, from this folder and glibc's only."""
    if not _LOADER.exists():
        return  # not x86-64: what is needed was checked by name
    command = [str(_LOADER), "--inhibit-cache", "--library-path", str(folder), "--list", str(path)]
    # An own environment: LD_PRELOAD and the like must not help.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": os.defpath}
    )
    if done.returncode != 0:
        raise KitError(f"{path.name} cannot be loaded: {done.stderr.strip()}")
    for name, target in re.findall(r"^\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?$", done.stdout, re.M):
        outside = not target.startswith(f"{folder}/") and name not in GLIBC
        if outside:
            raise KitError(f"{path.name}: {name} is {target}, not the package's; it is incomplete")
