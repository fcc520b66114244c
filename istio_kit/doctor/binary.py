"""Checks of an Envoy binary, without running it."""

from __future__ import annotations

from pathlib import Path

from envoy_ext import elf
from istio_kit.doctor.known import EXTENSION, NO_EXTENSION_REMEDY, layout_check, tables
from istio_kit.doctor.result import Check, fail, ok, warn
from istio_kit.errors import InputError


def checks(path: Path) -> list[Check]:
    """Return all checks of the binary.

    Raises:
        InputError: the file is no ELF binary with a build-id.
    """
    try:
        build_id = elf.build_id(path)
    except elf.ElfError as error:
        raise InputError(f"--envoy: {error}; name Envoy's binary itself, not a script") from error
    except OSError as error:
        raise InputError(f"--envoy: {path}: {error.strerror}; check the path") from error
    return [extension(path), abi(path), callbacks(path), layout_check(build_id)]


def extension(path: Path) -> Check:
    """Check that the extension point is compiled in."""
    if elf.contains(path, EXTENSION):
        return ok("extension", EXTENSION)
    return fail("extension", f"{EXTENSION} is not in {path}", NO_EXTENSION_REMEDY)


def abi(path: Path) -> Check:
    """Check that the binary carries the ABI version of a table."""
    known = [table.abi_version for table in tables()]
    found = elf.version_strings(path)
    fitting = [version for version in known if version in found]
    if fitting:
        return ok("module ABI", ", ".join(fitting))
    remedy = "use a release of the support table, or add a table: docs/new-envoy.md"
    has = ", ".join(found) or "no version string"
    return fail("module ABI", f"has {has}; the module is for {', '.join(known)}", remedy)


def callbacks(path: Path) -> Check:
    """Check that the binary offers every function that the module calls."""
    offered = elf.exported_symbols(path, "envoy_dynamic_module_")
    for table in tables():
        missing = [one.symbol for one in table.callbacks if one.symbol not in offered]
        if not missing:
            return ok("callbacks", f"all that the module for Envoy {table.envoy} calls")
    if not offered:
        return fail(
            "callbacks", "the binary offers no dynamic-module function", NO_EXTENSION_REMEDY
        )
    remedy = "use a release of the support table, or add a table: docs/new-envoy.md"
    return warn("callbacks", f"missing: {', '.join(missing)}", remedy)
