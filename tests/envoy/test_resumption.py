"""A resumed session needs no signature: the module's counters stand still."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from envoy_kit import BODY, Setup, client_context, https_get, running, s_client

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    ClientTls,
    Cluster,
    EnvoyProcess,
    KeyType,
    Listener,
    RouteTo,
    ServerTls,
)

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True, slots=True)
class Resuming:
    envoy: EnvoyProcess
    setup: Setup
    ca: Path


@pytest.fixture(scope="module")
def resuming(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Resuming]:
    folder = tmp_path_factory.mktemp("resumption")
    setup = Setup(folder / "stats")
    listeners = []
    for key in ("rsa2048", "p256"):
        for name, tickets, ids in (("tickets", True, False), ("ids", False, True)):
            tls = ServerTls(
                certificates=(server(key),),
                module=setup.module(),
                stateless_resumption=tickets,
                stateful_resumption=ids,
            )
            listeners.append(Listener(f"{name}-{key}", (Chain(tls=tls),)))
    with running(Bootstrap(listeners=listeners), folder) as envoy:
        yield Resuming(envoy, setup, ca.cert)


@pytest.mark.parametrize(
    ("kind", "version"), [("tickets", TLS12), ("tickets", TLS13), ("ids", TLS12)]
)
@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_python_client(
    resuming: Resuming, key: KeyType, kind: str, version: ssl.TLSVersion
) -> None:
    address = resuming.envoy.address(f"{kind}-{key}")
    context = client_context(resuming.ca, version)
    if kind == "ids":
        context.options |= ssl.OP_NO_TICKET
    with resuming.setup.signs(**{key: 1}):
        first = https_get(address, context)
    assert not first.reused
    assert first.session is not None
    session = first.session
    for _ in range(3):
        with resuming.setup.signs():
            again = https_get(address, context, session)
        assert again.reused
        assert again.session is not None
        session = again.session
    with resuming.setup.signs(**{key: 1}):
        assert not https_get(address, context).reused


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_openssl_client(resuming: Resuming, tmp_path: Path, key: KeyType, version: str) -> None:
    address, file = resuming.envoy.address(f"tickets-{key}"), str(tmp_path / "session")
    with resuming.setup.signs(**{key: 1}):
        first = s_client(address, resuming.ca, version, "-sess_out", file)
    assert first.ok, first.text
    assert not first.reused
    with resuming.setup.signs():
        again = s_client(address, resuming.ca, version, "-sess_in", file)
    assert again.ok, again.text
    assert again.reused


def test_session_of_another_listener(resuming: Resuming, tmp_path: Path) -> None:
    """It cannot be resumed: a whole handshake, with the other key, is made instead."""
    file = str(tmp_path / "session")
    rsa, p256 = (resuming.envoy.address(f"tickets-{key}") for key in ("rsa2048", "p256"))
    with resuming.setup.signs(rsa2048=1):
        assert s_client(rsa, resuming.ca, "-tls1_3", "-sess_out", file).ok
    with resuming.setup.signs(p256=1):
        seen = s_client(p256, resuming.ca, "-tls1_3", "-sess_in", file)
    assert seen.ok, seen.text
    assert not seen.reused


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_upstream_sessions(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    client: Callable[[KeyType], Certificate],
    tmp_path: Path,
    version: str,
) -> None:
    """As a client too: Envoy signs with its certificate once, and resumes afterwards."""
    setup = Setup(tmp_path / "stats")
    up_tls = ServerTls(
        certificates=(server("p256"),),
        trusted_ca=ca.cert,
        require_client_certificate=True,
        max_version=version,  # type: ignore[arg-type]
    )
    up_config = Bootstrap(listeners=(Listener("up", (Chain(tls=up_tls),)),))
    with running(up_config, tmp_path, name="up") as up:
        tls = ClientTls(
            certificates=(client("rsa2048"),),
            trusted_ca=ca.cert,
            module=setup.module(),
            max_version="1.3",
            max_session_keys=1,
        )
        config = Bootstrap(
            listeners=(Listener("front", (Chain(app=RouteTo("up")),)),),
            clusters=(Cluster("up", [up.address("up")], tls, requests_per_connection=1),),
        )
        with running(config, tmp_path, name="front") as front, setup.signs(rsa2048=1):
            for _ in range(4):
                assert httpx2.get(front.url("front", "http")).text == BODY
            assert front.stats("ssl")["cluster.up.ssl.session_reused"] == 3
