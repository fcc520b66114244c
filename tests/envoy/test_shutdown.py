"""Ends of workers, listeners and the whole Envoy while operations are queued."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest
from envoy_kit import ANSWER, Setup, client_context, https_get, s_client

from envoy_ext import artifacts
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    ServerTls,
)
from istio_kit.lab.log import unexpected_lines

Issue = Callable[[KeyType], Certificate]
Address = tuple[str, int]

CLIENTS = 24
WARM_UP = 0.3  # seconds of load before the end
SECONDS = 15.0
KEY: KeyType = "rsa4096"  # its batches are long, so that an end comes in the middle of one


@contextmanager
def load(address: Address, ca: Path) -> Iterator[list[int]]:
    """Clients that come again and again; a refused or broken connection is no matter here."""
    stop, done = Event(), [0]
    context = client_context(ca)

    def keep_coming(_: int) -> None:
        while not stop.is_set():
            with suppress(OSError, AssertionError):
                if https_get(address, context, seconds=3).body.startswith(ANSWER.encode()):
                    done[0] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(keep_coming, number) for number in range(CLIENTS)]
        try:
            yield done
        finally:
            stop.set()
    for client in clients:
        client.result()


def envoy_with(setup: Setup, certificate: Certificate, folder: Path) -> EnvoyProcess:
    tls = ServerTls(certificates=(certificate,), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))
    return EnvoyProcess(config, folder, module_dir=artifacts.module_dir(), concurrency=2)


# Python's ssl leaves a socket to the garbage collector when the peer has gone before wrap_socket.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["SIGTERM", "quitquitquit", "drain, then SIGTERM", "SIGKILL"])
def test_end_under_load(ca: CertAuthority, server: Issue, tmp_path: Path, how: str) -> None:
    setup = Setup(tmp_path / "stats")
    with envoy_with(setup, server(KEY), tmp_path) as envoy:
        with load(envoy.address("tls"), ca.cert) as done:
            time.sleep(WARM_UP)
            if how == "quitquitquit":
                envoy.post("/quitquitquit")
                wait_for_end(envoy)
            elif how.startswith("drain"):
                envoy.post("/drain_listeners")
                time.sleep(WARM_UP)
            status = envoy.kill() if how == "SIGKILL" else envoy.stop()
        assert status == (-9 if how == "SIGKILL" else 0)
    assert done[0] > 0
    counted = setup.read()
    assert counted.signed(KEY) >= done[0]
    assert counted.total("failed") == counted.verify_failures == 0
    assert unexpected_lines(envoy.log_text(), ()) == []
    # What was not computed was dropped; after SIGKILL nobody could do that.
    if how != "SIGKILL":
        assert 0 <= counted.submitted - counted.total() <= counted.total("dropped")


def wait_for_end(envoy: EnvoyProcess) -> None:
    """A signal that came meanwhile would be answered by the kernel, not by Envoy."""
    end = time.monotonic() + SECONDS
    while envoy.returncode is None:
        assert time.monotonic() < end
        time.sleep(0.02)


def lds(path: Path, listeners: list[Listener]) -> None:
    """Put listeners into the file that Envoy watches, atomically."""
    kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
    resources = [{"@type": kind, **listener.as_dict()} for listener in listeners]
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"resources": resources}))
    fresh.replace(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_listeners_come_and_go_under_load(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    """A listener and its TLS context end with connections in the middle of their handshakes."""
    setup, watched = Setup(tmp_path / "stats"), tmp_path / "lds.json"
    tls = ServerTls(certificates=(server(KEY),), module=setup.module())

    def listener(name: str) -> Listener:
        return Listener(name, (Chain(tls=tls),))

    lds(watched, [listener("stays"), listener("goes-0")])
    config = Bootstrap(listeners=()).as_dict()
    del config["static_resources"]["listeners"]
    config["dynamic_resources"] = {
        "lds_config": {
            "path_config_source": {"path": str(watched)},
            "resource_api_version": "V3",
        }
    }
    envoy = EnvoyProcess(
        config | {"node": {"id": "lab", "cluster": "lab"}},
        tmp_path,
        module_dir=artifacts.module_dir(),
        concurrency=2,
        drain_seconds=1,
    )
    with envoy:
        stays = envoy.address("stays")
        with load(stays, ca.cert) as done:
            for turn in range(3):
                with load(envoy.address(f"goes-{turn}"), ca.cert) as gone:
                    time.sleep(WARM_UP)
                    lds(watched, [listener("stays"), listener(f"goes-{turn + 1}")])
                    wait_for_listener(envoy, f"goes-{turn + 1}")
                assert gone[0] > 0
            before = done[0]
            time.sleep(WARM_UP)
            assert done[0] > before
        assert s_client(stays, ca.cert).ok
        assert envoy.returncode is None
        assert envoy.stop() == 0
    assert setup.read().total("failed") == 0
    assert setup.read().keys_hooked == 5
    assert unexpected_lines(envoy.log_text(), ()) == []


def wait_for_listener(envoy: EnvoyProcess, name: str) -> None:
    end = time.monotonic() + SECONDS
    while name not in envoy.get("/listeners"):
        assert time.monotonic() < end, envoy.get("/listeners")
        time.sleep(0.02)
