"""What goes into a package, and where each part comes from."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envoy_ext import __version__, artifacts
from envoy_ext.build import STAND_INS
from istio_kit.errors import InputError, KitError

MODULE = "libmultibuffer.so"
LIBRARY = "libcrypto_mb.so.13"
LIBCRYPTO = "libcrypto.so.3"

_LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64")
_DOC_FOLDERS = ("/usr/share/doc", "/usr/share/licenses")
_LICENCE_NAMES = ("copyright", "LICENSE.txt", "LICENSE", "COPYING")


@dataclass(frozen=True, slots=True)
class Component:
    """A piece of software in the package: its files by name, and the text of its licence.

    ``licence_id`` is an SPDX identifier, None for a component whose terms are those of the
    project itself. A component that is linked into another has no files.
    """

    name: str
    version: str
    files: dict[str, bytes]
    licence_id: str | None = None
    licence: bytes | None = None
    purl: str | None = None


def collect(libcrypto: Path | None) -> list[Component]:
    """Return all components; ``libcrypto`` None leaves OpenSSL to the target image.

    Raises:
        KitError: a part or the text of a licence is missing; nothing is left out silently.
        InputError: ``libcrypto`` is not OpenSSL 3.
    """
    try:
        folder = artifacts.module_dir()
    except artifacts.MissingArtifactError as error:
        raise KitError(str(error)) from error
    own = {MODULE: _without_debug(folder / MODULE)}
    own |= {name: (folder / name).read_bytes() for name in STAND_INS}
    found = [Component("multibuffer", __version__, own), _crypto_mb(), _json_c()]
    return [*found, _openssl(libcrypto)] if libcrypto else found


def system_libcrypto() -> Path:
    """Return this host's OpenSSL 3.

    Raises:
        KitError: there is none.
    """
    for folder in _LIBRARY_FOLDERS:
        path = Path(folder) / LIBCRYPTO
        if path.is_file():
            return path.resolve()
    raise KitError(
        f"{LIBCRYPTO} is not on this host. Install it (Debian: apt-get install libssl3), name it "
        "with --libcrypto, or use --without-libcrypto for images that have it"
    )


def _without_debug(path: Path) -> bytes:
    """Return the library less debug information, which holds paths of the build host."""
    strip = shutil.which("strip")
    if strip is None:
        raise KitError("the program strip is missing. Install it: apt-get install binutils")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / path.name
        command = [strip, "--strip-debug", "-o", str(target), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KitError(f"{path}: strip failed: {done.stderr.strip()}; build it again")
        return target.read_bytes()


def _crypto_mb() -> Component:
    path = artifacts.crypto_mb_path()
    if path is None:
        raise KitError("libcrypto_mb is not installed. Run: pip install ipp-crypto")
    version = importlib.metadata.version("ipp-crypto")
    licence = importlib.metadata.distribution("ipp-crypto").read_text("LICENSE.txt")
    if not licence:
        raise KitError("the package ipp-crypto has no LICENSE.txt. Install it again")
    files = {LIBRARY: path.read_bytes()}
    purl = f"pkg:pypi/ipp-crypto@{version}"
    return Component("crypto_mb", version, files, "Apache-2.0", licence.encode(), purl)


def _json_c() -> Component:
    """Linked into the module; the version is that of the headers it was compiled with."""
    header = Path("/usr/include/json-c/json_c_version.h")
    text = header.read_text() if header.is_file() else ""
    found = re.search(r'JSON_C_VERSION "([^"]+)"', text)
    licence = _licence("json-c", ("libjson-c-dev", "json-c-devel", "json-c", "libjson-c5"))
    if not found:
        raise KitError(f"{header} is missing. Install it: apt-get install libjson-c-dev")
    return Component("json-c", found[1], {}, "MIT", licence, f"pkg:generic/json-c@{found[1]}")


def _openssl(path: Path) -> Component:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"--libcrypto: {path}: {error.strerror}; check the path") from error
    found = re.search(rb"OpenSSL (3\.[0-9]+\.[0-9]+[^ \0]*) ", data)
    if not data.startswith(b"\x7fELF") or not found:
        raise InputError(f"--libcrypto: {path} is not OpenSSL 3's {LIBCRYPTO}; name that file")
    licence = _licence("OpenSSL", ("libssl3", "libssl3t64", "openssl-libs", "openssl"))
    version = found[1].decode()
    purl = f"pkg:generic/openssl@{version}"
    return Component("openssl", version, {LIBCRYPTO: data}, "Apache-2.0", licence, purl)


def _licence(name: str, packages: Sequence[str]) -> bytes:
    for path in _licence_paths(packages):
        if path.is_file():
            return path.read_bytes()
    raise KitError(
        f"the licence of {name} was not found below {' or '.join(_DOC_FOLDERS)}: a package may "
        f"not be made without it. Install {packages[0]} with its documentation"
    )


def _licence_paths(packages: Sequence[str]) -> Iterator[Path]:
    for folder in _DOC_FOLDERS:
        for package in packages:
            for name in _LICENCE_NAMES:
                yield Path(folder) / package / name
