"""Programs that are published as Go modules: built when first needed, and kept.

A tool is taken from the environment variable of its name (`FORTIO`, `PILOT_DISCOVERY`), or else
from the user's cache folder, or else it is built into that folder by the Go compiler. The version
is part of the file's name, so that another version is another file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from istio_kit.lab.envoys import cache_dir
from istio_kit.lab.process import LabError

_BUILD_SECONDS = 1200
_FLAGS = ("-trimpath", "-ldflags=-s -w")


@dataclass(frozen=True, slots=True)
class GoTool:
    """A program of a Go module, at a fixed version.

    ``module`` is given where it must be built in a copy of that module's tree, with its own list of
    checksums, because the public checksum database no longer has all of its requirements.
    """

    name: str
    package: str
    version: str
    module: str | None = None

    @property
    def variable(self) -> str:
        """Environment variable that names another program to use."""
        return self.name.upper().replace("-", "_")


# The last version whose requirements the public module mirrors serve.
FORTIO = GoTool("fortio", "fortio.org/fortio", "v1.66.5")
# Istio publishes no version tags that Go knows. These are commits of 2026-08-27, whose API is that
# of 1.31, and of 2026-04-23, whose API is that of 1.30.
_ISTIO_VERSION = "v0.0.0-20260827124520-eed52ebb66ad"
ISTIOCTL = GoTool("istioctl", "istio.io/istio/istioctl/cmd/istioctl", _ISTIO_VERSION)
ISTIOCTL_OLD = GoTool(
    "istioctl",
    "istio.io/istio/istioctl/cmd/istioctl",
    "v0.0.0-20260423205519-b01690e6db7d",
    module="istio.io/istio",
)
PILOT_DISCOVERY = GoTool(
    "pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery", _ISTIO_VERSION
)
KIND = GoTool("kind", "sigs.k8s.io/kind", "v0.33.0")


def find(tool: GoTool) -> Path | None:
    """Return the program where it is there already.

    Raises:
        LabError: the environment names a program that is not there.
    """
    named = os.environ.get(tool.variable)
    if named:
        found = shutil.which(named)
        if found is None:
            raise LabError(f"{tool.variable} names {named}, which is not a program")
        return Path(found)
    path = _cached(tool)
    return path if path.exists() else None


def go_tool(tool: GoTool) -> Path:
    """Return the program; it is built when it is not there yet, which may take minutes.

    Raises:
        LabError: it cannot be built; the message says what is missing.
    """
    return find(tool) or _build(tool)


def _cached(tool: GoTool) -> Path:
    return cache_dir() / "go" / f"{tool.name}-{tool.version}"


def _build(tool: GoTool) -> Path:
    go = shutil.which("go")
    if go is None:
        raise LabError(
            f"{tool.name} is missing, and so is the Go compiler to build it: install Go, or name "
            f"the program in the environment variable {tool.variable}"
        )
    target = _cached(tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    click.echo(f"building {tool.name} {tool.version} (once; kept in {target.parent})", err=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
        if tool.module:
            _build_in_tree(go, tool, tool.module, Path(scratch))
        else:
            _go(tool, [go, "install", *_FLAGS, f"{tool.package}@{tool.version}"], scratch)
        # Whoever comes first leaves a whole program; another's is as good.
        (Path(scratch) / tool.name).replace(target)
    return target


def _build_in_tree(go: str, tool: GoTool, module: str, scratch: Path) -> None:
    told = _go(tool, [go, "mod", "download", "-json", f"{module}@{tool.version}"], scratch)
    tree = scratch / "tree"
    shutil.copytree(json.loads(told)["Dir"], tree, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(tree):  # the module cache is read-only
        Path(folder).chmod(0o755)
    package = "." + tool.package.removeprefix(module)
    _go(tool, [go, "build", "-C", str(tree), *_FLAGS, "-o", str(scratch), package], scratch)


def _go(tool: GoTool, command: list[str], scratch: str | Path) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "GOBIN": str(scratch), "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{tool.name}: not built within {_BUILD_SECONDS} s") from error
    if done.returncode:
        raise LabError(f"{tool.name} {tool.version} cannot be built:\n{done.stderr[-2000:]}")
    return done.stdout
