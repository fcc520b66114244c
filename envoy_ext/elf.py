"""Reads what identifies an Envoy binary."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment


class ElfError(Exception):
    """The file is not an ELF binary or lacks what is looked for."""


def build_id(path: Path) -> str:
    """Return the GNU build-id in hexadecimal.

    Raises:
        ElfError: not an ELF file, or one without a build-id.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            for segment in ELFFile(file).iter_segments():
                if isinstance(segment, NoteSegment):
                    for note in segment.iter_notes():
                        if note["n_type"] == "NT_GNU_BUILD_ID":
                            return str(note["n_desc"])
        except ELFError as error:
            raise ElfError(f"{path}: not an ELF binary ({error})") from error
    raise ElfError(f"{path}: has no GNU build-id")


def version_strings(path: Path) -> list[str]:
    """Return the strings of a binary that look like an ABI version (``v0.2.0``), each once."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        found = re.findall(rb"\0(v[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})(?=\0)", data)
    return sorted({text.decode("ascii") for text in found})
