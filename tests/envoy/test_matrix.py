"""Every key with every signature scheme, in TLS 1.2 and 1.3, with OpenSSL's and Python's client."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy_kit import ANSWER, Setup, client_context, https_get, running, s_client

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    ServerTls,
)

KEYS: tuple[KeyType, ...] = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
RSA = KEYS[:3]

PSS = [(f"rsa_pss_rsae_sha{bits}", "RSA-PSS", f"SHA{bits}") for bits in (256, 384, 512)]
PKCS1 = [(f"rsa_pkcs1_sha{bits}", "RSA", f"SHA{bits}") for bits in (256, 384, 512)]
ECDSA_P256 = ("ecdsa_secp256r1_sha256", "ECDSA", "SHA256")
ECDSA_P384 = ("ecdsa_secp384r1_sha384", "ECDSA", "SHA384")

#: TLS version, key, scheme, and what the client must report of the signature.
SCHEMES = [
    *[("1.3", key, *scheme) for key in RSA for scheme in PSS],
    *[("1.2", key, *scheme) for key in RSA for scheme in PSS + PKCS1],
    ("1.3", "p256", *ECDSA_P256),
    ("1.3", "p384", *ECDSA_P384),
    # In TLS 1.2 a scheme names no curve: each goes with each key.
    *[("1.2", key, *scheme) for key in ("p256", "p384") for scheme in (ECDSA_P256, ECDSA_P384)],
    *[("1.2", key, "ecdsa_secp521r1_sha512", "ECDSA", "SHA512") for key in ("p256", "p384")],
]


@dataclass(frozen=True, slots=True)
class Matrix:
    envoy: EnvoyProcess
    setup: Setup
    ca: Path


@pytest.fixture(scope="module")
def matrix(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("matrix")
    setup = Setup(folder / "stats")
    listeners = [
        Listener(key, (Chain(tls=ServerTls(certificates=(server(key),), module=setup.module())),))
        for key in KEYS
    ]
    config = Bootstrap(listeners=listeners)
    with running(config, folder) as envoy:
        yield Matrix(envoy, setup, ca.cert)
        assert setup.read().keys_left == 0
        assert setup.read().keys_hooked == len(KEYS)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_python_client(matrix: Matrix, key: KeyType, version: str) -> None:
    only = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    address = matrix.envoy.address(key)
    with matrix.setup.signs(**{key: 3}):
        for _ in range(3):
            answer = https_get(address, client_context(matrix.ca, only))
            assert answer.version == f"TLSv{version}"
            assert answer.body.startswith(ANSWER.encode())


@pytest.mark.parametrize(("version", "key", "scheme", "kind", "digest"), SCHEMES)
def test_signature_scheme(
    matrix: Matrix, version: str, key: KeyType, scheme: str, kind: str, digest: str
) -> None:
    only = f"-tls{version.replace('.', '_')}"
    with matrix.setup.signs(**{key: 1}):
        seen = s_client(matrix.envoy.address(key), matrix.ca, only, "-sigalgs", scheme)
    assert seen.ok, seen.text
    assert (seen.version, seen.signature, seen.digest) == (f"TLSv{version}", kind, digest)
    assert seen.subject == f"server-{key}"


@pytest.mark.parametrize("key", KEYS)
def test_second_client_hello(matrix: Matrix, key: KeyType) -> None:
    """The client's first key share is of no use, so that it is asked for another one."""
    with matrix.setup.signs(**{key: 1}):
        seen = s_client(
            matrix.envoy.address(key), matrix.ca, "-tls1_3", "-groups", "P-521:P-256", "-msg"
        )
    assert seen.ok, seen.text
    assert seen.text.count("ClientHello") == 2


@pytest.mark.parametrize("key", KEYS)
def test_no_common_scheme(matrix: Matrix, key: KeyType) -> None:
    """The handshake fails before the key is used, and the next one is fine."""
    other = "ecdsa_secp256r1_sha256" if key in RSA else "rsa_pss_rsae_sha256"
    address = matrix.envoy.address(key)
    with matrix.setup.signs():
        seen = s_client(address, matrix.ca, "-tls1_3", "-sigalgs", other)
        assert not seen.ok
        assert "handshake failure" in seen.text
    with matrix.setup.signs(**{key: 1}):
        assert s_client(address, matrix.ca, "-tls1_3").ok
