"""Real k6 against real stock Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    LabError,
    Listener,
    Load,
    Respond,
    ServerTls,
    run_k6,
)


@pytest.fixture(scope="module")
def envoy(
    ca: CertAuthority, server: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EnvoyProcess]:
    tls = ServerTls(certificates=(server,))
    mutual = ServerTls(certificates=(server,), trusted_ca=ca.cert, require_client_certificate=True)
    listeners = (
        Listener("tls", (Chain(tls=tls),)),
        Listener("mutual", (Chain(tls=mutual),)),
        Listener("broken", (Chain(tls=tls, app=Respond(503, "")),)),
        Listener("plain", (Chain(),)),
    )
    directory = tmp_path_factory.mktemp("envoy")
    with EnvoyProcess(Bootstrap(listeners=listeners), directory) as running:
        yield running


def handshakes(envoy: EnvoyProcess, listener: str) -> int:
    return envoy.stats()[f"listener.{listener}.ssl.handshake"]


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_closed_loop_counts_what_envoy_counts(
    envoy: EnvoyProcess, tmp_path: Path, tls: str
) -> None:
    before = handshakes(envoy, "tls")
    load = Load(url=envoy.url("tls"), seconds=0.5, connections=16, tls=tls)  # type: ignore[arg-type]
    result = run_k6(load, tmp_path)
    assert result.failed == 0
    assert result.handshakes > 16
    assert handshakes(envoy, "tls") - before == result.handshakes
    assert result.rate == pytest.approx(result.handshakes / result.seconds)
    assert 0 < result.tls.p50 <= result.tls.p90 <= result.tls.p99
    assert result.tls.p50 < result.request.p50
    assert result.cpu_seconds > 0
    assert envoy.stats()[f"listener.tls.ssl.versions.TLSv{tls}"] == result.handshakes


def test_open_loop_keeps_its_rate(envoy: EnvoyProcess, tmp_path: Path) -> None:
    load = Load(url=envoy.url("tls"), seconds=1, connections=8, rate=50)
    result = run_k6(load, tmp_path)
    assert result.failed == 0
    assert result.handshakes == pytest.approx(50, abs=2)


def test_certificates_of_both_sides(
    envoy: EnvoyProcess, ca: CertAuthority, client: Certificate, tmp_path: Path
) -> None:
    _, port = envoy.address("mutual")
    load = Load(
        url="https://a.test/",
        hosts={"a.test": f"127.0.0.1:{port}"},
        seconds=0.2,
        connections=2,
        ca=ca.cert,
        client_certificate=client,
    )
    result = run_k6(load, tmp_path)
    assert result.failed == 0
    assert result.handshakes > 0
    assert (tmp_path / "k6.js").stat().st_mode & 0o777 == 0o600


def test_failures_are_counted(envoy: EnvoyProcess, client: Certificate, tmp_path: Path) -> None:
    plain = envoy.url("plain", "https")
    untrusted = Load(url=envoy.url("tls"), seconds=0.1, connections=2, ca=client.cert)
    for load in (
        Load(url=plain, seconds=0.1, connections=2),
        Load(url=envoy.url("broken"), seconds=0.1, connections=2),
        untrusted,
    ):
        result = run_k6(load, tmp_path)
        assert result.failed >= 2
        assert (result.handshakes, result.rate) == (0, 0)


def test_unusable_load_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"(?s)k6 ended with status \d+;.*number of VUs"):
        run_k6(Load(url="https://127.0.0.1:1/", seconds=0.1, connections=0), tmp_path)
