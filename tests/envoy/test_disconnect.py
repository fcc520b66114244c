"""Clients that go away in the middle of a handshake, beside others that do not."""

from __future__ import annotations

import random
import socket
import ssl
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from envoy_kit import ANSWER, Setup, client_context, https_get, running, stat, wait_for

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    KeyType,
    Listener,
    ServerTls,
)

Issue = Callable[[KeyType], Certificate]

ABORTS = 400
GOOD = 100
THREADS = 16
SECONDS = 15.0


def client_hello() -> bytes:
    """The bytes that a client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def abort(address: tuple[str, int], hello: bytes, dice: random.Random) -> None:
    """Send a part or all of a ClientHello, perhaps wait or read a little, and go."""
    with socket.create_connection(address, SECONDS) as connection:
        if dice.random() < 0.5:  # a reset instead of an orderly end
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sent = len(hello) if dice.random() < 0.8 else dice.randrange(len(hello))
        connection.sendall(hello[:sent])
        way = dice.random()
        if way < 0.3:
            time.sleep(dice.random() * 0.003)
        elif way < 0.5 and sent == len(hello):
            connection.recv(dice.choice([1, 100, 4000]))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("key", ["rsa2048", "p384"])
def test_others_do_not_suffer(
    ca: CertAuthority, server: Issue, tmp_path: Path, key: KeyType, workers: int
) -> None:
    setup = Setup(tmp_path / "stats")
    tls = ServerTls(certificates=(server(key),), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))
    hello = client_hello()
    # A certificate that Envoy cannot send any more is no warning of Envoy's.
    with running(config, tmp_path, concurrency=workers) as envoy:
        address, context = envoy.address("tls"), client_context(ca.cert)
        assert https_get(address, context).body

        def visit(number: int) -> bool:
            if number % ((ABORTS + GOOD) // GOOD):
                abort(address, hello, random.Random(number))
                return True
            return https_get(address, context).body.startswith(ANSWER.encode())

        with ThreadPoolExecutor(THREADS) as pool:
            assert all(pool.map(visit, range(ABORTS + GOOD)))
        wait_for(lambda: stat(envoy, "listener.tls.downstream_cx_active") == 0)
        counted = setup.read()
        assert counted.total("failed") == 0
        assert counted.signed(key) == counted.signed() >= GOOD + 1
        # Whatever was accepted was either computed, or dropped before that.
        assert 0 <= counted.submitted - counted.total() <= counted.total("dropped")
        assert https_get(address, context).body
