"""The tarball: the same parts give the same bytes, and it appears whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from istio_kit.errors import InputError, KitError
from istio_kit.package.parts import Component

#: Folder inside the archive.
TOP = "multibuffer"


def files(components: Sequence[Component], sbom: bytes) -> dict[str, bytes]:
    """Return all files of the package by their name in it, with SHA256SUMS over the others."""
    found = {name: data for one in components for name, data in one.files.items()}
    for one in components:
        if one.licence:
            found[f"licences/{one.name}.txt"] = one.licence
    found["sbom.cdx.json"] = sbom
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in sorted(found.items())]
    return {**found, "SHA256SUMS": ("\n".join(lines) + "\n").encode()}


def pack(contents: Mapping[str, bytes], epoch: int) -> bytes:
    """Return a gzipped tar of `contents` below TOP; every time in it is ``epoch``."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folders = {TOP} | {f"{TOP}/{name.rpartition('/')[0]}" for name in contents if "/" in name}
        for folder in sorted(folders):
            tar.addfile(_entry(folder, 0o755, epoch, tarfile.DIRTYPE))
        for name, data in sorted(contents.items()):
            mode = 0o755 if ".so" in name else 0o644
            entry = _entry(f"{TOP}/{name}", mode, epoch, tarfile.REGTYPE)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), compresslevel=9, mtime=0)


def epoch_of_environment() -> int:
    """Return SOURCE_DATE_EPOCH, 0 when it is not set.

    Raises:
        InputError: it is not a time that a tarball can hold.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if text.isascii() and text.isdigit() and int(text) < 1 << 33:
        return int(text)
    raise InputError(f"SOURCE_DATE_EPOCH={text!r} is not a number of seconds; mend or unset it")


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file under a temporary name and rename it; folders are made.

    Raises:
        KitError: it cannot be written; no part of it is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
            Path(partial).replace(path)
        finally:
            Path(partial).unlink(missing_ok=True)
    except OSError as error:
        reason = f"{path}: cannot be written: {error.strerror}"
        raise KitError(f"{reason}; choose another --output-dir") from error


def _entry(name: str, mode: int, epoch: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, epoch
    entry.uname = entry.gname = "root"
    return entry
