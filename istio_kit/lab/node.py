"""Where a process of the lab runs: on which CPUs, and in which network namespace.

As root every node is a network namespace with its own address; the nodes are joined by virtual
Ethernet pairs through a bridge that is a namespace, too, so that the host's own network is left
alone. The namespaces have no names: each belongs to a process that only holds it and that dies
with us, so that nothing is left behind even when we are killed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from istio_kit.lab.process import LabError, supervised, tool

_SUBNET = "10.99.0."
_START_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Node:
    """A place to run processes; as it stands, the loopback of this host without pinning."""

    name: str = "host"
    address: str = "127.0.0.1"
    cpus: Sequence[int] = ()
    """CPUs that its processes are pinned to; none: no pinning."""
    namespace: Path | None = None
    """Network namespace; None: the one of this process."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return `command` so that it runs here and dies with its parent."""
        if self.namespace is None:
            return supervised(command, self.cpus)
        return supervised([*_enter(self.namespace), *command], self.cpus)


HOST = Node()


@contextmanager
def nodes(cpus: Mapping[str, Sequence[int]], *, isolated: bool) -> Iterator[dict[str, Node]]:
    """Make a node for each name in `cpus`; without `isolated` they all are the loopback.

    Raises:
        LabError: a namespace cannot be made.
    """
    if not isolated:
        yield {name: Node(name, cpus=tuple(chosen)) for name, chosen in cpus.items()}
        return
    with ExitStack() as held:
        hub = held.enter_context(_namespace())
        _run(hub, "link", "add", "hub", "type", "bridge")
        _run(hub, "link", "set", "hub", "up")
        made: dict[str, Node] = {}
        for number, (name, chosen) in enumerate(cpus.items(), start=1):
            pid = held.enter_context(_namespace())
            _join(hub, pid, f"port{number}", f"{_SUBNET}{number}")
            made[name] = Node(name, f"{_SUBNET}{number}", tuple(chosen), _path(pid))
        yield made


def can_isolate() -> bool:
    """Return whether this process may make network namespaces."""
    try:
        with _namespace():
            return True
    except LabError:
        return False


def _path(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net")


def _enter(namespace: Path) -> list[str]:
    return [tool("nsenter", "util-linux"), f"--net={namespace}", "--"]


@contextmanager
def _namespace() -> Iterator[int]:
    """Hold a new network namespace; the value is the process id of its holder."""
    command = supervised(
        [tool("unshare", "util-linux"), "--net", "--", tool("sleep", "coreutils"), "infinity"]
    )
    holder = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with holder:
        try:
            _wait_apart(holder)
            yield holder.pid
        finally:
            holder.kill()


def _wait_apart(holder: subprocess.Popen[bytes]) -> None:
    ours = Path("/proc/self/ns/net").stat()
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if holder.poll() is not None:
            text = holder.stderr.read().decode().strip() if holder.stderr else ""
            raise LabError(f"cannot make a network namespace: {text}")
        # A holder that has just ended has no namespace any more.
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samestat(ours, _path(holder.pid).stat()):
                return
        time.sleep(0.005)
    raise LabError(f"cannot make a network namespace within {_START_SECONDS:g} s")


def _join(hub: int, pid: int, port: str, address: str) -> None:
    """Give a node its address, and plug it into the bridge of `hub`."""
    _run(hub, *f"link add {port} type veth peer name eth0 netns {pid}".split())
    _run(hub, *f"link set {port} master hub up".split())
    _run(pid, *f"address add {address}/24 dev eth0".split())
    _run(pid, *"link set eth0 up".split())
    _run(pid, *"link set lo up".split())


def _run(pid: int, *arguments: str) -> None:
    """Run `ip` in the namespace of `pid`."""
    command = [*_enter(_path(pid)), tool("ip", "iproute2"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
