"""What the compiled module exports and needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

from envoy_ext import artifacts, table

NEWEST_GLIBC = (2, 35)  # Ubuntu 22.04's
MODULE_TABLE = Path(table.__file__).parent / "tables" / "1.40.yaml"


@pytest.fixture(scope="module")
def elf() -> Iterator[ELFFile]:
    with (artifacts.module_dir() / "libmultibuffer.so").open("rb") as file:
        yield ELFFile(file)


def symbols(elf: ELFFile, *, defined: bool) -> set[str]:
    dynamic = elf.get_section_by_name(".dynsym")
    assert isinstance(dynamic, SymbolTableSection)
    return {
        symbol.name
        for symbol in dynamic.iter_symbols()
        if symbol.name and (symbol["st_shndx"] != "SHN_UNDEF") is defined
    }


def needed_versions(elf: ELFFile) -> set[str]:
    section = elf.get_section_by_name(".gnu.version_r")
    assert isinstance(section, GNUVerNeedSection)
    return {version.name for _, versions in section.iter_versions() for version in versions}


def test_exports_are_the_hooks_of_the_table(elf: ELFFile) -> None:
    one = table.load(MODULE_TABLE)
    hooks = {hook.symbol for hook in (*one.hooks, *one.bootstrap_hooks)} | set(one.ignored_hooks)
    assert symbols(elf, defined=True) == hooks


def test_only_the_c_library_is_needed(elf: ELFFile) -> None:
    dynamic = elf.get_section_by_name(".dynamic")
    assert isinstance(dynamic, DynamicSection)
    needed = {str(getattr(tag, "needed")) for tag in dynamic.iter_tags("DT_NEEDED")}  # noqa: B009
    assert "libc.so.6" in needed
    assert needed <= {"libc.so.6", "ld-linux-x86-64.so.2"}


def test_no_newer_glibc_is_needed(elf: ELFFile) -> None:
    versions = needed_versions(elf)
    parsed = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version) for version in versions]
    assert parsed
    assert all(parsed), versions  # of glibc, and public: no GLIBC_PRIVATE
    newest = max((int(found[1]), int(found[2])) for found in parsed if found)
    assert newest <= NEWEST_GLIBC


def test_undefined_symbols_are_envoys_or_glibcs(elf: ELFFile) -> None:
    """Nothing of OpenSSL or crypto_mb is bound by the loader: both are opened at run time."""
    table_of_module = table.load(MODULE_TABLE)
    callbacks = {callback.symbol for callback in table_of_module.callbacks}
    others = symbols(elf, defined=False) - callbacks
    foreign = re.compile(r"(SSL|EVP|RSA|EC|ECDSA|BN|OPENSSL|CRYPTO|mbx|json|_Z)")
    assert sorted(name for name in others if foreign.match(name)) == []
