"""Certificates that rotate through SDS files while clients keep coming."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from envoy_kit import (
    ANSWER,
    Setup,
    client_context,
    https_get,
    locked_kib,
    running,
    s_client,
    wait_for,
)

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    Secret,
    ServerTls,
    write_secret,
)

Issue = Callable[[KeyType], Certificate]

CLIENTS = 8
ROTATIONS = 12


def wait_for_updates(envoy: EnvoyProcess, count: int) -> None:
    name = "listener.tls.server_ssl_socket_factory.ssl_context_update_by_sds"
    wait_for(lambda: envoy.stats(re.escape(name)).get(name, 0) >= count)


def rotate(envoy: EnvoyProcess, secret: Secret, certificates: list[Certificate], base: int) -> None:
    for number, certificate in enumerate(certificates, start=base + 1):
        write_secret(secret, certificate)
        wait_for_updates(envoy, number)


def config(secret: Secret, setup: Setup) -> Bootstrap:
    tls = ServerTls(secrets=(secret,), module=setup.module())
    return Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))


def test_rotation_under_load(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    """No handshake fails; each is signed by the module, with the key of that moment."""
    setup, secret = Setup(tmp_path / "stats"), Secret("server", tmp_path / "sds.json")
    kinds: list[KeyType] = ["rsa2048", "p256", "p384", "rsa3072"]
    write_secret(secret, server("rsa2048"))
    stop = Event()
    with running(config(secret, setup), tmp_path, concurrency=2) as envoy:
        address, context = envoy.address("tls"), client_context(ca.cert)
        base = envoy.stats("ssl_context_update_by_sds$")
        assert https_get(address, context).body  # both workers know the path from now on

        def keep_coming(_: int) -> int:
            count = 0
            while not stop.is_set():
                assert https_get(address, context).body.startswith(ANSWER.encode())
                count += 1
            return count

        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(keep_coming, number) for number in range(CLIENTS)]
            try:
                before = sum(base.values())
                wanted = [server(kinds[(turn + 1) % len(kinds)]) for turn in range(ROTATIONS)]
                rotate(envoy, secret, wanted, before)
            finally:
                stop.set()
            handshakes = 1 + sum(client.result() for client in clients)
        counted = setup.read()
        assert counted.signed() == counted.submitted == handshakes
        assert counted.total("failed", "dropped") == 0
        assert all(counted.signed(kind) > 0 for kind in kinds)
        assert counted.keys_left == 0


def test_old_keys_leave_the_memory(ca: CertAuthority, server: Issue, tmp_path: Path) -> None:
    """Each key takes locked pages; twenty rotations take no more than the first few."""
    setup, secret = Setup(tmp_path / "stats"), Secret("server", tmp_path / "sds.json")
    write_secret(secret, server("rsa2048"))
    with running(config(secret, setup), tmp_path) as envoy:
        base = sum(envoy.stats("ssl_context_update_by_sds$").values())

        def turn(number: int, key: KeyType) -> None:
            rotate(envoy, secret, [ca.issue(f"turn-{number}", key=key)], base + number)
            assert s_client(envoy.address("tls"), ca.cert).ok

        for number in range(4):
            turn(number, "p256")
        locked = locked_kib(envoy)
        for number in range(4, 24):
            turn(number, "p256")
        assert locked_kib(envoy) <= locked + 32  # less than half of what twenty keys would take
        assert setup.read().keys_hooked == 25
