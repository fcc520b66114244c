"""Ends of workers, listeners and the whole Envoy while operations are queued."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest
from envoy_kit import (
    ANSWER,
    Setup,
    client_context,
    https_get,
    put_listeners,
    s_client,
    wait_for,
    watch_listeners,
)

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
                # A signal that came meanwhile would be answered by the kernel, not by Envoy.
                wait_for(lambda: envoy.returncode is not None)
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_listeners_come_and_go_under_load(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    """A listener and its TLS context end with connections in the middle of their handshakes."""
    setup, watched = Setup(tmp_path / "stats"), tmp_path / "lds.json"
    tls = ServerTls(certificates=(server(KEY),), module=setup.module())

    def listener(name: str) -> Listener:
        return Listener(name, (Chain(tls=tls),))

    config = watch_listeners(watched, [listener("stays"), listener("goes-0")])
    envoy = EnvoyProcess(
        config,
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
                    put_listeners(watched, [listener("stays"), listener(f"goes-{turn + 1}")])
                    name = f"goes-{turn + 1}"
                    wait_for(lambda name=name: name in envoy.get("/listeners"))  # type: ignore[misc]
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
