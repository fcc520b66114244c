"""Several certificates on one listener, and certificates that the module leaves to Envoy."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from envoy_kit import Setup, running, s_client

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    LabError,
    Listener,
    ServerTls,
)
from istio_kit.lab.log import warnings_of

LEFT = "multibuffer: certificate left to Envoy: key type, size or public exponent is not handled"
PSS, ECDSA = "rsa_pss_rsae_sha256", "ecdsa_secp256r1_sha256"

AnyKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Names:
    envoy: EnvoyProcess
    setup: Setup
    ca: Path


@pytest.fixture(scope="module")
def names(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Names]:
    """Listeners with several certificates, chosen by name or by what the client can do."""
    folder = tmp_path_factory.mktemp("names")
    setup = Setup(folder / "stats")

    def tls(*certificates: Certificate, **more: object) -> ServerTls:
        return ServerTls(certificates=certificates, module=setup.module(**more))

    def named(key: KeyType, name: str) -> Certificate:
        return ca.issue(f"named-{key}", key=key, dns=[name])

    chains = (
        Chain(tls=tls(named("rsa2048", "rsa.test")), server_names=["rsa.test"]),
        Chain(tls=tls(named("p256", "ec.test")), server_names=["ec.test"]),
        Chain(tls=tls(server("p384"))),
    )
    by_name = tls(
        ca.issue("one-rsa3072", key="rsa3072", dns=["a.test"]),
        ca.issue("one-p384", key="p384", dns=["b.test"]),
        ca.issue("one-rsa2048", key="rsa2048", dns=["c.test"]),
        ca.issue("one-p256", key="p256", dns=["*.d.test"]),
    )
    listeners = (
        Listener("chains", chains),
        Listener("by-name", (Chain(tls=by_name),)),
        Listener("pair", (Chain(tls=tls(server("rsa2048"), server("p256"))),)),
        Listener("pair-ec-first", (Chain(tls=tls(server("p256"), server("rsa2048"))),)),
        Listener(
            "only-p256", (Chain(tls=tls(server("rsa2048"), server("p256"), algorithms=["p256"])),)
        ),
    )
    with running(Bootstrap(listeners=listeners), folder, allowed=(LEFT,)) as envoy:
        assert len(warnings_of(envoy.log_text())) == 1  # the RSA key of only-p256
        assert (setup.read().keys_hooked, setup.read().keys_left) == (3 + 4 + 2 + 2 + 1, 1)
        yield Names(envoy, setup, ca.cert)


@pytest.mark.parametrize(
    ("listener", "sni", "key"),
    [
        ("chains", "rsa.test", "rsa2048"),
        ("chains", "ec.test", "p256"),
        ("chains", "localhost", "p384"),
        ("by-name", "a.test", "rsa3072"),
        ("by-name", "b.test", "p384"),
        ("by-name", "c.test", "rsa2048"),
        ("by-name", "x.d.test", "p256"),
    ],
)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_chosen_by_name(names: Names, listener: str, sni: str, key: KeyType, version: str) -> None:
    with names.setup.signs(**{key: 1}):
        seen = s_client(names.envoy.address(listener), names.ca, version, sni=sni)
    assert seen.ok, seen.text
    assert str(seen.subject).endswith(key)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("-tls1_3", "-sigalgs", PSS), "rsa2048"),
        (("-tls1_3", "-sigalgs", f"{ECDSA}:{PSS}"), "p256"),
        (("-tls1_3", "-sigalgs", ECDSA), "p256"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "rsa2048"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "p256"),
        (("-tls1_2", "-sigalgs", PSS), "rsa2048"),
    ],
)
@pytest.mark.parametrize("listener", ["pair", "pair-ec-first"])
def test_pair(names: Names, listener: str, arguments: tuple[str, ...], key: KeyType) -> None:
    with names.setup.signs(**{key: 1}):
        seen = s_client(names.envoy.address(listener), names.ca, *arguments)
    assert seen.ok, seen.text
    assert seen.subject == f"server-{key}"


def test_algorithms_that_are_not_wanted(names: Names) -> None:
    address = names.envoy.address("only-p256")
    with names.setup.signs():
        seen = s_client(address, names.ca, "-sigalgs", PSS)
    assert seen.ok
    assert seen.subject == "server-rsa2048"
    with names.setup.signs(p256=1):
        assert s_client(address, names.ca, "-sigalgs", ECDSA).ok


def self_signed(folder: Path, name: str, key: AnyKey) -> Certificate:
    """Write a certificate of a kind that the lab does not issue; clients trust it itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    # The key type is for the lab's own certificates; nothing reads it here.
    pair = Certificate(name, "p256", folder / f"{name}.crt", folder / f"{name}.key")
    pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pair


def odd_keys() -> dict[str, AnyKey]:
    return {
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "p521": ec.generate_private_key(ec.SECP521R1()),
        "rsa2056": rsa.generate_private_key(65537, 2056),
        "exponent3": rsa.generate_private_key(3, 2048),
    }


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a hooked one"])
@pytest.mark.parametrize("kind", ["ed25519", "p521", "rsa2056", "exponent3"])
def test_left_to_envoy(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    tmp_path: Path,
    kind: str,
    *,
    beside: bool,
) -> None:
    setup = Setup(tmp_path / "stats")
    odd = self_signed(tmp_path, kind, odd_keys()[kind])

    def listener(name: str, certificate: Certificate) -> Listener:
        tls = ServerTls(certificates=(certificate,), module=setup.module())
        return Listener(name, (Chain(tls=tls),))

    listeners = [listener("odd", odd)]
    if beside:
        listeners.append(listener("hooked", server("rsa2048")))
    with running(Bootstrap(listeners=listeners), tmp_path, allowed=(LEFT,)) as envoy:
        assert [LEFT in line for line in warnings_of(envoy.log_text())] == [True]
        assert (setup.read().keys_hooked, setup.read().keys_left) == (int(beside), 1)
        for _ in range(2):
            with setup.signs():
                seen = s_client(envoy.address("odd"), odd.cert)
                assert seen.ok, seen.text
            if beside:
                with setup.signs(rsa2048=1):
                    assert s_client(envoy.address("hooked"), ca.cert).ok


@pytest.mark.parametrize(
    ("first", "hooked"),
    list(itertools.product(["odd", "hooked"], ["rsa2048", "p256"])),
)
def test_odd_certificate_first_in_one_context(
    ca: CertAuthority, tmp_path: Path, first: str, hooked: KeyType
) -> None:
    """The other certificate of the context is hooked, whichever the first connection is for."""
    setup = Setup(tmp_path / "stats")
    certificates = (
        ca.issue("odd", key="ed25519", dns=["odd.test"]),
        ca.issue("hooked", key=hooked, dns=["hooked.test"]),
    )
    tls = ServerTls(certificates=certificates, module=setup.module())
    config = Bootstrap(listeners=(Listener("both", (Chain(tls=tls),)),))
    with running(config, tmp_path, allowed=(LEFT,)) as envoy:
        assert (setup.read().keys_hooked, setup.read().keys_left) == (1, 1)
        order = ["odd", "hooked"] if first == "odd" else ["hooked", "odd"]
        for name in order * 2:
            with setup.signs(**({hooked: 1} if name == "hooked" else {})):
                seen = s_client(envoy.address("both"), ca.cert, sni=f"{name}.test")
                assert seen.ok, seen.text
                assert seen.subject == name


def test_rsa1024_is_refused_by_envoy_itself(tmp_path: Path) -> None:
    """So the module never meets a shorter RSA key than it can handle."""
    setup = Setup(tmp_path / "stats")
    key = rsa.generate_private_key(65537, 1024)
    tls = ServerTls(certificates=(self_signed(tmp_path, "weak", key),), module=setup.module())
    config = Bootstrap(listeners=(Listener("weak", (Chain(tls=tls),)),))
    with pytest.raises(LabError, match="2048-bit or larger"), running(config, tmp_path):
        pass
