"""How child processes are launched: pinned to CPUs, and gone when the parent is gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from istio_kit.errors import KitError


class LabError(KitError):
    """A process of the lab cannot be run, or did not do its work."""


class StartupError(LabError):
    """A server ended, or did not become ready, before it could serve."""


def tool(name: str, package: str) -> str:
    """Return the path of the system program `name`.

    Raises:
        LabError: it is not installed; the message names the Debian `package`.
    """
    found = shutil.which(name)
    if found is None:
        raise LabError(f"the program {name} is missing: install {package}")
    return found


def supervised(command: Sequence[str], cpus: Sequence[int] = ()) -> list[str]:
    """Return `command` wrapped so that it dies with its parent and runs on `cpus` only.

    Both wrappers replace themselves by the command, so that its process id is the one that was
    started. Pinning happens before the command runs and is inherited by all of its threads. The
    parent is the *thread* that starts the command: start it from one that lives on.
    """
    wrapped = [tool("setpriv", "util-linux"), "--pdeathsig", "KILL"]
    if cpus:
        wrapped += [tool("taskset", "util-linux"), "-c", ",".join(map(str, cpus))]
    return [*wrapped, *command]


def clean_environment(extra: Mapping[str, str], *, drop_prefixes: Sequence[str]) -> dict[str, str]:
    """Return this process's environment with `extra`, less proxies and `drop_prefixes`.

    Settings of the caller's shell must not change what is measured.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(tuple(drop_prefixes)) and not name.lower().endswith("_proxy")
    }
    return {**kept, **extra}


def tail(path: Path, lines: int = 20) -> str:
    """Return the last `lines` of a text file, "" when it does not exist."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def describe(status: int) -> str:
    """Return how a process ended, from its exit status as `subprocess` gives it."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"by signal {signal.Signals(-status).name}"
    return f"with status {status}"
