"""Client certificates, on both sides of Envoy; HTTP and TCP chains."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx2
import pytest
from envoy_kit import (
    ANSWER,
    BODY,
    REQUEST,
    SECONDS,
    Setup,
    client_context,
    https_get,
    mutual_context,
    peer_name,
    respond,
    running,
    s_client,
)

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
    TcpProxy,
)
from istio_kit.lab.config import TlsVersion

KEYS: tuple[KeyType, ...] = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
VERSIONS: tuple[TlsVersion, ...] = ("1.2", "1.3")

MANY = 16

Issue = Callable[[KeyType], Certificate]


class OpenSslServer:
    """An HTTPS server of Python's, which requires a client certificate and checks its signature."""

    def __init__(self, certificate: Certificate, ca: Path) -> None:
        self._context = mutual_context(certificate, ca)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self.clients: list[str] = []
        """Common names of the clients, in the order of their handshakes."""
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the accept.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._socket.accept()
            except OSError:
                return
            raw.settimeout(SECONDS)
            with contextlib.suppress(OSError), raw:
                self._answer(raw)

    def _answer(self, raw: socket.socket) -> None:
        with self._context.wrap_socket(raw, server_side=True) as tls:
            self.clients.append(peer_name(tls))
            respond(tls)


@dataclass(frozen=True, slots=True)
class Proxies:
    """`up` is a stock Envoy; `front` has the module on listeners, clusters, or both."""

    front: EnvoyProcess
    up: EnvoyProcess
    setup: Setup
    ca: Path
    openssl: OpenSslServer


def up_config(ca: CertAuthority, server: Issue) -> Bootstrap:
    listeners = [Listener("plain", (Chain(),))]
    for version in VERSIONS:
        tls = ServerTls(
            certificates=(server("p256"),),
            trusted_ca=ca.cert,
            require_client_certificate=True,
            min_version=version,
            max_version=version,
        )
        listeners.append(Listener(f"tls{version}", (Chain(tls=tls),)))
    return Bootstrap(listeners=listeners)


def front_config(
    up: EnvoyProcess, openssl: OpenSslServer, ca: CertAuthority, setup: Setup, certs: list[Issue]
) -> Bootstrap:
    server, client = certs
    listeners: list[Listener] = []
    clusters = [Cluster("plain", [up.address("plain")])]

    def add_cluster(name: str, address: tuple[str, int], key: KeyType) -> None:
        tls = ClientTls(
            certificates=(client(key),),
            trusted_ca=ca.cert,
            module=setup.module(),
            max_version="1.3",
        )
        clusters.append(Cluster(name, [address], tls, requests_per_connection=1))
        for kind, app in (("http", RouteTo(name)), ("tcp", TcpProxy(name))):
            listeners.append(Listener(f"{kind}-{name}", (Chain(app=app),)))

    for key in KEYS:
        for version in VERSIONS:
            add_cluster(f"{key}-{version}", up.address(f"tls{version}"), key)
        add_cluster(f"{key}-openssl", openssl.address, key)
    for key in KEYS:
        tls = ServerTls(
            certificates=(server(key),),
            trusted_ca=ca.cert,
            require_client_certificate=True,
            module=setup.module(),
        )
        listeners += [
            Listener(f"server-{key}", (Chain(tls=tls),)),
            Listener(f"server-tcp-{key}", (Chain(tls=tls, app=TcpProxy("plain")),)),
            Listener(f"both-{key}", (Chain(tls=tls, app=RouteTo("p384-1.3")),)),
        ]
    return Bootstrap(listeners=listeners, clusters=clusters)


@pytest.fixture(scope="module")
def proxies(
    ca: CertAuthority,
    server: Issue,
    client: Issue,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxies]:
    folder = tmp_path_factory.mktemp("mutual")
    setup = Setup(folder / "stats")
    with (
        OpenSslServer(server("p256"), ca.cert) as openssl,
        running(up_config(ca, server), folder, name="up") as up,
    ):
        config = front_config(up, openssl, ca, setup, [server, client])
        with running(config, folder, name="front") as front:
            yield Proxies(front, up, setup, ca.cert, openssl)
            assert setup.read().keys_left == 0


def with_certificate(pair: Certificate) -> tuple[str, ...]:
    return "-cert", str(pair.cert), "-key", str(pair.key)


@pytest.mark.parametrize("chain", ["server", "server-tcp"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("key", KEYS)
def test_client_certificate_is_required(
    proxies: Proxies, client: Issue, key: KeyType, version: str, chain: str
) -> None:
    address = proxies.front.address(f"{chain}-{key}")
    with proxies.setup.signs(**{key: 1}):
        good = s_client(address, proxies.ca, version, *with_certificate(client("p256")))
    assert good.ok, good.text
    # The server signs before it sees whether the client has a certificate.
    with proxies.setup.signs(**{key: 1}):
        bad = s_client(address, proxies.ca, version)
    assert not bad.ok
    # That of TLS 1.2 is older than the alert "certificate required".
    assert re.search("certificate required|handshake failure", bad.text)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_client_certificate_of_a_stranger(proxies: Proxies, tmp_path: Path, version: str) -> None:
    stranger = CertAuthority(tmp_path, "stranger").issue("client", key="p256", usage="client")
    with proxies.setup.signs(rsa2048=1):
        seen = s_client(
            proxies.front.address("server-rsa2048"),
            proxies.ca,
            version,
            *with_certificate(stranger),
        )
    assert not seen.ok
    assert "unknown ca" in seen.text


def plain_get(address: tuple[str, int]) -> bytes:
    """HTTP without TLS, for both kinds of chain."""
    with socket.create_connection(address, SECONDS) as raw:
        raw.sendall(REQUEST.encode())
        answer = b""
        while not answer.endswith(BODY.encode()):
            part = raw.recv(4096)
            assert part, f"closed after {answer!r}"
            answer += part
        return answer


@pytest.mark.parametrize("chain", ["http", "tcp"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", KEYS)
def test_client_side(proxies: Proxies, key: KeyType, version: str, chain: str) -> None:
    name = f"listener.tls{version}.ssl.handshake"
    before = proxies.up.stats(name)[name]
    address = proxies.front.address(f"{chain}-{key}-{version}")
    with proxies.setup.signs(**{key: 3}):
        for _ in range(3):
            assert plain_get(address).startswith(ANSWER.encode())
    assert proxies.up.stats(name)[name] - before == 3
    assert proxies.up.stats("no_certificate")[f"listener.tls{version}.ssl.no_certificate"] == 0


@pytest.mark.parametrize("key", KEYS)
def test_client_side_to_openssl(proxies: Proxies, key: KeyType) -> None:
    proxies.openssl.clients.clear()
    with proxies.setup.signs(**{key: 2}):
        for chain in ("http", "tcp"):
            address = proxies.front.address(f"{chain}-{key}-openssl")
            assert plain_get(address).startswith(ANSWER.encode())
    assert proxies.openssl.clients == [f"client-{key}"] * 2


@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_both_sides_at_once(proxies: Proxies, client: Issue, key: KeyType) -> None:
    """The module's key with certificate validation, on the listener and on the cluster."""
    with proxies.setup.signs(**{key: 1, "p384": 1}):
        seen = s_client(
            proxies.front.address(f"both-{key}"),
            proxies.ca,
            *with_certificate(client("rsa2048")),
        )
    assert seen.ok, seen.text


@pytest.mark.parametrize("chain", ["http", "tcp"])
@pytest.mark.parametrize("key", KEYS)
def test_client_side_of_many(proxies: Proxies, key: KeyType, chain: str) -> None:
    """Operations of upstream connections wait for each other, too."""
    address = proxies.front.address(f"{chain}-{key}-1.3")
    with proxies.setup.signs(**{key: MANY}), ThreadPoolExecutor(MANY) as pool:
        answers = list(pool.map(plain_get, [address] * MANY))
    assert all(answer.startswith(ANSWER.encode()) for answer in answers)


@pytest.mark.parametrize("key", KEYS)
def test_both_sides_of_many(proxies: Proxies, client: Issue, key: KeyType) -> None:
    address, context = proxies.front.address(f"both-{key}"), client_context(proxies.ca)
    context.load_cert_chain(client("p256").cert, client("p256").key)
    expected: Counter[str] = Counter({key: MANY})
    expected["p384"] += MANY
    with proxies.setup.signs(**expected), ThreadPoolExecutor(MANY) as pool:
        answers = list(pool.map(lambda _: https_get(address, context).body, range(MANY)))
    assert all(answer.startswith(ANSWER.encode()) for answer in answers)


def test_upstream_that_is_not_trusted(proxies: Proxies, client: Issue, tmp_path: Path) -> None:
    """Validation still works beside the module: nothing is signed for a stranger."""
    setup = Setup(tmp_path / "stats")
    tls = ClientTls(
        certificates=(client("p256"),),
        trusted_ca=CertAuthority(tmp_path, "stranger").cert,
        module=setup.module(),
        max_version="1.3",
    )
    config = Bootstrap(
        listeners=(Listener("plain", (Chain(app=RouteTo("up")),)),),
        clusters=(Cluster("up", [proxies.up.address("tls1.3")], tls),),
    )
    with running(config, tmp_path, name="distrust") as envoy, setup.signs():
        answer = httpx2.get(envoy.url("plain", "http"), timeout=SECONDS)
        assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE
        assert envoy.stats("fail_verify_error")["cluster.up.ssl.fail_verify_error"] == 1
