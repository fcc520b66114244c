"""TCP proxying: Envoy does not read from the client until the upstream is connected.

The ClientHello is there before that, because the TLS inspector waits for it: so operations are
queued while another part of Envoy holds back the connection, and something has to wake it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from envoy_kit import ANSWER, CANNOT_BATCH, Setup, client_context, https_get, running

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    ClientTls,
    Cluster,
    KeyType,
    Listener,
    ServerTls,
    TcpProxy,
)

Issue = Callable[[KeyType], Certificate]

CLIENTS = 16
SECONDS = 3.0  # without the fault it takes milliseconds

# With P-384 a batch of one pays, so that operations are queued on any CPU that can batch.
KEY: KeyType = "p384"


def up_config(ca: CertAuthority, server: Issue) -> Bootstrap:
    mutual = ServerTls(
        certificates=(server("p256"),), trusted_ca=ca.cert, require_client_certificate=True
    )
    return Bootstrap(
        listeners=(Listener("plain", (Chain(),)), Listener("mutual", (Chain(tls=mutual),)))
    )


@pytest.mark.parametrize(
    ("policy", "upstream"),
    [
        ("off", "plain"),
        ("off", "mutual"),
        ("adaptive", "plain"),
        ("adaptive", "mutual"),
    ],
)
def test_clients_at_once(
    ca: CertAuthority,
    server: Issue,
    client: Issue,
    tmp_path: Path,
    policy: str,
    upstream: str,
) -> None:
    setup = Setup(tmp_path / "stats")
    module = setup.module(policy="off" if CANNOT_BATCH else policy)
    tls = ServerTls(certificates=(server(KEY),), module=module)
    chain = Chain(tls=tls, app=TcpProxy("up"), server_names=["localhost"])
    as_client = ClientTls(
        certificates=(client(KEY),), trusted_ca=ca.cert, module=module, max_version="1.3"
    )
    with running(up_config(ca, server), tmp_path, name="up") as up:
        cluster = Cluster("up", [up.address(upstream)], as_client if upstream == "mutual" else None)
        config = Bootstrap(listeners=(Listener("tcp", (chain,)),), clusters=(cluster,))
        with running(config, tmp_path, name="front") as front:
            address, context = front.address("tcp"), client_context(ca.cert)

            def handshake(_: int) -> str:
                try:
                    body = https_get(address, context, seconds=SECONDS).body
                except OSError as error:
                    return repr(error)
                return body.decode().partition("\r")[0]

            with ThreadPoolExecutor(CLIENTS) as pool:
                answers = list(pool.map(handshake, range(CLIENTS)))
            signatures = CLIENTS * (2 if upstream == "mutual" else 1)
            assert answers == [ANSWER] * CLIENTS
            assert setup.read().signed(KEY) == setup.read().submitted == signatures
