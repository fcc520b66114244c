"""Connections that began before their certificate, listener or cluster was replaced."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from envoy_kit import (
    ANSWER,
    REQUEST,
    SECONDS,
    Setup,
    client_context,
    locked_kib,
    peer_name,
    put_listeners,
    s_client,
    stat,
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
    Respond,
    Secret,
    ServerTls,
    write_secret,
)
from istio_kit.lab.log import unexpected_lines

Issue = Callable[[KeyType], Certificate]

HELD = 12
DRAIN_SECONDS = 2


@contextmanager
def held(envoy: EnvoyProcess, listener: str) -> Iterator[list[socket.socket]]:
    """Connections that Envoy has accepted, and so has made an SSL for; nothing is sent yet."""
    name = f"listener.{listener}.downstream_cx_active"
    before = stat(envoy, name)
    address = envoy.address(listener)
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(address, SECONDS)) for _ in range(HELD)
        ]
        wait_for(lambda: stat(envoy, name) == before + HELD)
        yield sockets


def finish(sockets: list[socket.socket], ca: Path) -> list[str]:
    """Handshake and ask on each of them; returns the certificates' common names."""
    names = []
    for raw in sockets:
        with client_context(ca).wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(REQUEST.encode())
            assert tls.recv(4096).startswith(ANSWER.encode())
            names.append(peer_name(tls))
    return names


@pytest.mark.parametrize("old", ["rsa2048", "p256"])
def test_rotated_certificate(
    ca: CertAuthority, server: Issue, tmp_path: Path, old: KeyType
) -> None:
    """They get the certificate that was there when they came, and the module signs with its key."""
    new: KeyType = "p384"
    setup, secret = Setup(tmp_path / "stats"), Secret("server", tmp_path / "sds.json")
    tls = ServerTls(secrets=(secret,), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))
    updates = "listener.tls.server_ssl_socket_factory.ssl_context_update_by_sds"
    write_secret(secret, server(old))
    with EnvoyProcess(config, tmp_path, module_dir=artifacts.module_dir(), concurrency=2) as envoy:
        assert s_client(envoy.address("tls"), ca.cert).ok
        with held(envoy, "tls") as sockets:
            # The module looks for dead contexts each time that a new one comes.
            for certificate in (server(new), ca.issue("between", key="p256"), server(new)):
                count = stat(envoy, updates)
                write_secret(secret, certificate)
                wait_for(lambda before=count: stat(envoy, updates) > before)  # type: ignore[misc]
            with setup.signs(**{new: 1}):
                assert s_client(envoy.address("tls"), ca.cert).subject == f"server-{new}"
            with setup.signs(**{old: HELD}):
                assert finish(sockets, ca.cert) == [f"server-{old}"] * HELD
        assert envoy.stop() == 0
    assert unexpected_lines(envoy.log_text(), ()) == []


def watching(file: Path, listeners: list[Listener], workers: int) -> EnvoyProcess:
    return EnvoyProcess(
        watch_listeners(file, listeners),
        file.parent,
        module_dir=artifacts.module_dir(),
        concurrency=workers,
        drain_seconds=DRAIN_SECONDS,
    )


def is_draining(envoy: EnvoyProcess) -> bool:
    return any(envoy.stats(r"^listener_manager\.total_\w+_draining$").values())


def served(name: str, tls: ServerTls, body: str = "ok\n") -> Listener:
    return Listener(name, (Chain(tls=tls, app=Respond(body=body)),))


@pytest.mark.parametrize("with_module", [False, True], ids=["stock", "module"])
@pytest.mark.parametrize("change", ["chain replaced", "listener removed"])
def test_replaced_listener(
    ca: CertAuthority, server: Issue, tmp_path: Path, change: str, *, with_module: bool
) -> None:
    """Until the drain time is over they finish as with stock signing, by the module's hand."""
    setup = Setup(tmp_path / "stats")
    module = setup.module() if with_module else None
    stays = served("stays", ServerTls(certificates=(server("p256"),), module=setup.module()))
    tls = ServerTls(certificates=(server("rsa2048"),), module=module)
    file = tmp_path / "lds.json"
    with watching(file, [stays, served("goes", tls)], workers=2) as envoy:
        assert s_client(envoy.address("stays"), ca.cert).ok
        with held(envoy, "goes") as sockets:
            left = [stays] if change == "listener removed" else [stays, served("goes", tls, "new")]
            put_listeners(file, left)
            wait_for(lambda: is_draining(envoy))
            with setup.signs(rsa2048=HELD if with_module else 0):
                assert finish(sockets, ca.cert) == ["server-rsa2048"] * HELD
        wait_for(lambda: not is_draining(envoy))
        with setup.signs(p256=1):
            assert s_client(envoy.address("stays"), ca.cert).ok
        assert envoy.stop() == 0
    assert unexpected_lines(envoy.log_text(), ()) == []


def test_connections_outlive_their_drain_time(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    """Envoy closes them, and the key of their listener leaves the locked memory."""
    setup = Setup(tmp_path / "stats")
    tls = ServerTls(certificates=(server("rsa2048"),), module=setup.module())
    stays = served("stays", ServerTls(certificates=(server("p256"),), module=setup.module()))
    file = tmp_path / "lds.json"
    with watching(file, [stays], workers=1) as envoy:
        assert s_client(envoy.address("stays"), ca.cert).ok
        locked = []
        for _ in range(3):
            put_listeners(file, [stays, served("goes", tls)])
            wait_for(lambda: "goes" in envoy.get("/listeners"))
            assert s_client(envoy.address("goes"), ca.cert).ok
            with held(envoy, "goes") as sockets:
                put_listeners(file, [stays])
                for raw in sockets:
                    assert raw.recv(1) == b""  # closed by Envoy
            wait_for(lambda: not is_draining(envoy))
            locked.append(locked_kib(envoy))
        assert len(set(locked)) == 1, locked
        with setup.signs(p256=1):
            assert s_client(envoy.address("stays"), ca.cert).ok
        assert envoy.stop() == 0
    assert unexpected_lines(envoy.log_text(), ()) == []
