"""Nodes as network namespaces, and what happens where they cannot be made."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from istio_kit.lab import FortioServer, LabError, Load, StartupError, can_isolate, nodes, run_fortio
from istio_kit.lab.gotools import FORTIO, find
from istio_kit.lab.host import parse_cpus

needs_fortio = pytest.mark.skipif(
    find(FORTIO) is None and shutil.which("go") is None, reason="Fortio needs Go to be built"
)
needs_root = pytest.mark.skipif(not can_isolate(), reason="may not make network namespaces")


@needs_root
@needs_fortio
def test_nodes_reach_each_other_and_nobody_else(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    interfaces = socket.if_nameindex()
    with nodes({"client": (), "server": ()}, isolated=True) as places:
        assert places["client"].address != places["server"].address
        assert socket.if_nameindex() == interfaces
        with FortioServer(tmp_path, places["server"]) as server:
            url = f"http://{server.address[0]}:{server.address[1]}/"
            load = Load(url=url, seconds=0.2, connections=2, node=places["client"])
            result = run_fortio(load, tmp_path)
            assert (result.failed, result.warm_up) == (0, 2)
            assert result.handshakes > 2
            # This process is on neither node.
            with (
                pytest.raises(OSError, match=r"unreachable|timed out|refused"),
                socket.create_connection(server.address, 0.5),
            ):
                pass
    assert set(psutil.Process().children()) == before


@needs_root
@needs_fortio
def test_killed_node(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with nodes({"server": ()}, isolated=True) as places:
        for child in set(psutil.Process().children()) - before:
            child.kill()
            child.wait()
        with (
            pytest.raises(StartupError, match="does not listen"),
            FortioServer(tmp_path, places["server"]),
        ):
            pass


@needs_fortio
def test_taken_port(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StartupError, match="address already in use"),
            FortioServer(tmp_path, port=port),
        ):
            pass
    assert set(psutil.Process().children()) == before


def test_without_rights_nodes_are_the_loopback() -> None:
    code = "from istio_kit.lab import can_isolate; print(can_isolate())"
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-sys_admin", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with nodes({"client": (0,)}, isolated=False) as places:
        assert places["client"].address == "127.0.0.1"
        assert places["client"].namespace is None


def test_namespace_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("istio_kit.lab.node.tool", lambda *_: "/bin/false")
    with (
        pytest.raises(LabError, match="cannot make a network namespace"),
        nodes({"client": ()}, isolated=True),
    ):
        pass


def test_lists_of_cpus() -> None:
    assert parse_cpus("0,2-4\n") == (0, 2, 3, 4)
    assert parse_cpus("") == ()
    for bad in ("a", "1-", "-1", "1;2"):
        with pytest.raises(ValueError, match="not a list of CPUs"):
            parse_cpus(bad)
