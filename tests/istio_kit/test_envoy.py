"""Real stock Envoy processes: life cycle, and every kind of configuration that the lab builds."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil
import pytest
from cryptography import x509

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    ClientTls,
    Cluster,
    EnvoyProcess,
    LabError,
    Listener,
    Module,
    Node,
    RouteTo,
    Secret,
    ServerTls,
    StartupError,
    TcpProxy,
    write_secret,
)

# Starts an Envoy, tells its process id, and waits for its own end.
HOLDER = """
import sys, time
from pathlib import Path
from istio_kit.lab import Bootstrap, Chain, EnvoyProcess, Listener
config = Bootstrap(listeners=(Listener("plain", (Chain(),)),))
with EnvoyProcess(config, Path(sys.argv[1])) as envoy:
    print(envoy.pid, flush=True)
    time.sleep(60)
"""


def plain() -> Bootstrap:
    return Bootstrap(listeners=(Listener("plain", (Chain(),)),))


def https(tls: ServerTls) -> Bootstrap:
    return Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def handshake(
    address: tuple[str, int], ca: CertAuthority, *, name: str = "localhost"
) -> tuple[str | None, x509.Certificate]:
    """Return TLS version and server certificate."""
    context = ssl.create_default_context(cafile=str(ca.cert))
    with (
        socket.create_connection(address, timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        return tls.version(), x509.load_der_x509_certificate(der)


def certificate_of(pair: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert.read_bytes())


def test_starts_serves_and_stops(tmp_path: Path) -> None:
    with EnvoyProcess(plain(), tmp_path) as envoy:
        assert envoy.returncode is None
        assert httpx2.get(envoy.url("plain", "http")).text == "ok\n"
        assert envoy.stats("downstream_rq_2xx")["http.http.downstream_rq_2xx"] == 1
        assert envoy.cpu_seconds() > 0
        with pytest.raises(LabError, match="no listener named 'nope'"):
            envoy.address("nope")
        assert envoy.stop() == 0
    assert envoy.returncode == 0
    assert "starting main dispatch loop" in envoy.log_text()
    assert not psutil.pid_exists(envoy.pid)
    with pytest.raises(LabError, match="is not running"):
        envoy.stats()
    with pytest.raises(LabError, match="started before"):
        envoy.start()


def test_needs_a_start(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="was not started"):
        EnvoyProcess(plain(), tmp_path).stop()


def test_kill_is_seen_in_the_status(tmp_path: Path) -> None:
    with EnvoyProcess(plain(), tmp_path) as envoy:
        assert envoy.kill() == -signal.SIGKILL
    assert envoy.returncode == -signal.SIGKILL


def test_all_threads_are_pinned(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    with EnvoyProcess(plain(), tmp_path, concurrency=2, node=Node(cpus=(cpu,))) as envoy:
        threads = psutil.Process(envoy.pid).threads()
        assert len(threads) > 2
        assert all(os.sched_getaffinity(thread.id) == {cpu} for thread in threads)


def test_bad_configuration_is_told(tmp_path: Path) -> None:
    config = plain().as_dict() | {"no_such_field": 1}
    envoy = EnvoyProcess(config, tmp_path, name="bad")
    with pytest.raises(StartupError, match=r"(?s)'bad' ended with status 1;.*no_such_field"):
        envoy.start()
    assert envoy.returncode == 1


def test_missing_binary_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no-such-envoy"):
        EnvoyProcess(plain(), tmp_path, binary=tmp_path / "no-such-envoy").start()


def test_not_ready_in_time_leaves_nothing(tmp_path: Path) -> None:
    envoy = EnvoyProcess(plain(), tmp_path, ready_seconds=0)
    with pytest.raises(StartupError, match="was not ready after 0 s"):
        envoy.start()
    assert not psutil.pid_exists(envoy.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_envoy_dies_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        assert psutil.pid_exists(pid)
        holder.send_signal(number)
        holder.wait(15)
    wait_until(lambda: not psutil.pid_exists(pid))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_version(ca: CertAuthority, server: Certificate, tmp_path: Path, version: str) -> None:
    tls = ServerTls(certificates=(server,), min_version=version, max_version=version)  # type: ignore[arg-type]
    with EnvoyProcess(https(tls), tmp_path) as envoy:
        assert handshake(envoy.address("tls"), ca)[0] == f"TLSv{version}"
        # With 1.3 the client may be done before Envoy is.
        name = f"listener.tls.ssl.versions.TLSv{version}"
        wait_until(lambda: envoy.stats().get(name) == 1)


def test_chains_are_chosen_by_name(ca: CertAuthority, server: Certificate, tmp_path: Path) -> None:
    other = ca.issue("other", key="rsa2048", dns=["b.test"])
    chains = (
        Chain(tls=ServerTls(certificates=(other,)), server_names=["b.test"]),
        Chain(tls=ServerTls(certificates=(server,))),
    )
    with EnvoyProcess(Bootstrap(listeners=(Listener("tls", chains),)), tmp_path) as envoy:
        address = envoy.address("tls")
        assert handshake(address, ca, name="b.test")[1] == certificate_of(other)
        assert handshake(address, ca, name="a.test")[1] == certificate_of(server)


def test_secret_is_rotated(ca: CertAuthority, server: Certificate, tmp_path: Path) -> None:
    secret = Secret("cert", tmp_path / "sds.json")
    write_secret(secret, server)
    assert secret.file.stat().st_mode & 0o777 == 0o600
    fresh = ca.issue("fresh", key="p384")
    with EnvoyProcess(https(ServerTls(secrets=(secret,))), tmp_path) as envoy:
        address = envoy.address("tls")
        assert handshake(address, ca)[1] == certificate_of(server)
        write_secret(secret, fresh)
        wait_until(lambda: handshake(address, ca)[1] == certificate_of(fresh))


@pytest.mark.parametrize("app", [RouteTo("up"), TcpProxy("up")])
def test_mutual_tls_to_an_upstream(
    ca: CertAuthority,
    server: Certificate,
    client: Certificate,
    tmp_path: Path,
    app: RouteTo | TcpProxy,
) -> None:
    inner = ServerTls(certificates=(server,), trusted_ca=ca.cert, require_client_certificate=True)
    with EnvoyProcess(https(inner), tmp_path, name="up") as up:
        tls = ClientTls(certificates=(client,), trusted_ca=ca.cert)
        config = Bootstrap(
            listeners=(Listener("plain", (Chain(app=app),)),),
            clusters=(Cluster("up", [up.address("tls")], tls, requests_per_connection=1),),
        )
        with EnvoyProcess(config, tmp_path, name="front") as front:
            for _ in range(3):
                assert httpx2.get(front.url("plain", "http")).text == "ok\n"
            assert front.stats()["cluster.up.ssl.handshake"] == 3
        assert up.stats()["listener.tls.ssl.handshake"] == 3
        assert up.stats("no_certificate")["listener.tls.ssl.no_certificate"] == 0


def test_only_wanted_statistics_are_kept(tmp_path: Path) -> None:
    config = Bootstrap(listeners=plain().listeners, stats_prefixes=("listener.plain.",))
    with EnvoyProcess(config, tmp_path) as envoy:
        assert envoy.stats()
        assert all(name.startswith("listener.plain.") for name in envoy.stats())


@pytest.mark.parametrize(
    ("settings", "kind", "value"),
    [({"policy": "off"}, "Struct", {"policy": "off"}), ("{", "StringValue", "{")],
)
def test_module_configuration(
    settings: dict[str, str] | str, kind: str, value: dict[str, str] | str
) -> None:
    config = Module(settings).as_dict()["typed_config"]
    assert config["dynamic_module_config"] == {"name": "multibuffer"}
    assert config["handshaker_config"] == {
        "@type": f"type.googleapis.com/google.protobuf.{kind}",
        "value": value,
    }
