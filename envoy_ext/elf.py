"""Reads what identifies an Envoy binary, and what a library needs of the system."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import NoteSegment


class ElfError(Exception):
    """The file is not an ELF binary or lacks what is looked for."""


def build_id(path: Path) -> str:
    """Return the GNU build-id in hexadecimal.

    Raises:
        ElfError: not an ELF file, or one without a build-id.
        OSError: the file cannot be read.
    """
    with _elf(path) as elf:
        for segment in elf.iter_segments():
            if isinstance(segment, NoteSegment):
                for note in segment.iter_notes():
                    if note["n_type"] == "NT_GNU_BUILD_ID":
                        return str(note["n_desc"])
    raise ElfError(f"{path}: has no GNU build-id")


def version_strings(path: Path, *, prefix: str = "v") -> list[str]:
    """Return the strings of a binary that look like an ABI version (``v0.2.0``), each once."""
    pattern = rb"\0(" + re.escape(prefix).encode() + rb"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})(?=\0)"
    with _mapped(path) as data:
        found = re.findall(pattern, data)
    return sorted({text.decode("ascii") for text in found})


def contains(path: Path, text: str) -> bool:
    """Say whether the bytes of ``text`` occur in the file."""
    with _mapped(path) as data:
        return data.find(text.encode()) >= 0


def needed_libraries(path: Path) -> list[str]:
    """Return the names of the libraries that the loader opens for this one.

    Raises:
        ElfError: not an ELF file.
    """
    with _elf(path) as elf:
        dynamic = elf.get_section_by_name(".dynamic")
        if not isinstance(dynamic, DynamicSection):
            return []
        # pyelftools names the attribute after the kind of the tag.
        return [str(vars(tag)["needed"]) for tag in dynamic.iter_tags("DT_NEEDED")]


def glibc_needed(path: Path) -> tuple[int, int]:
    """Return the oldest glibc (major, minor) that has all symbol versions a library binds.

    (2, 0) when it binds none. Raises ElfError: not an ELF file.
    """
    with _elf(path) as elf:
        section = elf.get_section_by_name(".gnu.version_r")
        if not isinstance(section, GNUVerNeedSection):
            return (2, 0)
        names = [one.name for _, versions in section.iter_versions() for one in versions]
    found = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", name) for name in names]
    return max(((int(one[1]), int(one[2])) for one in found if one), default=(2, 0))


def exported_symbols(path: Path, prefix: str) -> set[str]:
    """Return the symbols with this prefix that a binary offers to what it loads.

    Raises:
        ElfError: not an ELF file.
    """
    with _elf(path) as elf:
        symbols = elf.get_section_by_name(".dynsym")
        if not isinstance(symbols, SymbolTableSection):
            return set()
        return {
            symbol.name
            for symbol in symbols.iter_symbols()
            if symbol.name.startswith(prefix) and symbol["st_shndx"] != "SHN_UNDEF"
        }


@contextmanager
def _elf(path: Path) -> Iterator[ELFFile]:
    with path.open("rb") as file:
        try:
            yield ELFFile(file)
        except ELFError as error:
            raise ElfError(f"{path}: not an ELF binary ({error})") from error


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        yield data
