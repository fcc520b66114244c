"""Client side: handshakes that began before the client certificate or the cluster was replaced."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from envoy_kit import (
    ANSWER,
    REQUEST,
    SECONDS,
    Setup,
    mutual_context,
    peer_name,
    respond,
    stat,
    wait_for,
)

from envoy_ext import artifacts
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
    Secret,
    write_secret,
)
from istio_kit.lab.log import unexpected_lines

Issue = Callable[[KeyType], Certificate]

HELD = 8
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


class PatientServer:
    """Accepts connections and does not begin their TLS before it is told to."""

    def __init__(self, certificate: Certificate, ca: Path) -> None:
        self._context = mutual_context(certificate, ca)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(SECONDS)
        self.address: tuple[str, int] = self._socket.getsockname()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def accept(self) -> socket.socket:
        """Return the next connection, when its first bytes are there."""
        raw, _ = self._socket.accept()
        raw.settimeout(SECONDS)
        raw.recv(1, socket.MSG_PEEK)
        return raw

    def answer(self, raw: socket.socket) -> str:
        """Do the handshake and answer one request; the client's name, "" if it has gone."""
        with raw, suppress(OSError), self._context.wrap_socket(raw, server_side=True) as tls:
            respond(tls)
            return peer_name(tls)
        return ""


def ask(address: tuple[str, int]) -> str:
    """Make one request without TLS; the status line."""
    with socket.create_connection(address, SECONDS) as raw:
        raw.sendall(REQUEST.encode())
        return raw.recv(4096).decode().partition("\r")[0]


def bootstrap(clusters: Path) -> dict[str, Any]:
    plain = Listener("plain", (Chain(app=RouteTo("up")),))
    source = {"path_config_source": {"path": str(clusters)}, "resource_api_version": "V3"}
    config = Bootstrap(listeners=(plain,)).as_dict()
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    # The cluster comes after the listener, and may go before it.
    chain["filters"][0]["typed_config"]["route_config"]["validate_clusters"] = False
    return config | {"dynamic_resources": {"cds_config": source}}


def put_clusters(file: Path, *clusters: dict[str, Any]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"resources": [{"@type": CLUSTER, **one} for one in clusters]}))
    fresh.replace(file)


def in_flight(
    envoy: EnvoyProcess, server: PatientServer, change: Callable[[], None]
) -> tuple[Counter[str], Counter[str]]:
    """Begin handshakes, change something, end them; what servers and clients then see."""
    address = envoy.address("plain")
    with ThreadPoolExecutor(2 * HELD) as pool:
        clients = [pool.submit(ask, address) for _ in range(HELD)]
        held = [server.accept() for _ in range(HELD)]
        change()
        names = Counter(pool.map(server.answer, held))
        return names, Counter(client.result() for client in clients)


@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_rotated_client_certificate(
    ca: CertAuthority, server: Issue, client: Issue, tmp_path: Path, key: KeyType
) -> None:
    setup, secret = Setup(tmp_path / "stats"), Secret("client", tmp_path / "sds.json")
    clusters = tmp_path / "cds.json"
    write_secret(secret, client(key))
    with PatientServer(server("p256"), ca.cert) as up:
        tls = ClientTls(
            secrets=(secret,), trusted_ca=ca.cert, module=setup.module(), max_version="1.3"
        )
        put_clusters(clusters, Cluster("up", [up.address], tls).as_dict())
        updates = "cluster.up.client_ssl_socket_factory.ssl_context_update_by_sds"

        def rotate() -> None:
            for new in (ca.issue("between", key="p256", usage="client"), client("p384")):
                before = stat(envoy, updates)
                write_secret(secret, new)
                wait_for(lambda: stat(envoy, updates) > before)  # noqa: B023 - awaited here

        envoy = EnvoyProcess(bootstrap(clusters), tmp_path, module_dir=artifacts.module_dir())
        with envoy:
            with setup.signs(**{key: HELD}):
                names, answers = in_flight(envoy, up, rotate)
            assert names == {f"client-{key}": HELD}
            assert answers == {ANSWER: HELD}
            with setup.signs(p384=HELD):
                names, answers = in_flight(envoy, up, lambda: None)
            assert names == {"client-p384": HELD}
            assert answers == {ANSWER: HELD}
            assert envoy.stop() == 0
    assert unexpected_lines(envoy.log_text(), ()) == []


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_cluster_goes(
    ca: CertAuthority, server: Issue, client: Issue, tmp_path: Path, change: str
) -> None:
    """What becomes of its handshakes is the same as with stock signing."""
    seen = {}
    setup, clusters = Setup(tmp_path / "stats"), tmp_path / "cds.json"
    for module in (None, setup.module()):
        with PatientServer(server("p256"), ca.cert) as up:
            tls = ClientTls(
                certificates=(client("rsa2048"),),
                trusted_ca=ca.cert,
                module=module,
                max_version="1.3",
            )
            cluster = Cluster("up", [up.address], tls).as_dict()
            put_clusters(clusters, cluster)
            envoy = EnvoyProcess(bootstrap(clusters), tmp_path, module_dir=artifacts.module_dir())

            def go(cluster: dict[str, Any] = cluster) -> None:
                left = [cluster | {"connect_timeout": "6s"}] if change == "replaced" else []
                put_clusters(clusters, *left)
                what = "cluster_modified" if left else "cluster_removed"
                wait_for(lambda: stat(envoy, f"cluster_manager.{what}") == 1)  # noqa: B023

            with envoy:
                seen[module is None] = in_flight(envoy, up, go)
                assert envoy.stop() == 0
        assert unexpected_lines(envoy.log_text(), ()) == []
    assert seen[True] == seen[False]
    names, answers = seen[False]
    # Envoy lets them end, so that this tells something.
    assert names == {"client-rsa2048": HELD}
    assert answers == {ANSWER: HELD}
    counted = setup.read()
    assert (counted.signed("rsa2048"), counted.submitted) == (HELD, HELD)
