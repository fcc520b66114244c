from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from istio_kit.lab import KEY_TYPES, CertAuthority, KeyType


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_leaf_has_the_key_that_was_asked_for(ca: CertAuthority, key_type: KeyType) -> None:
    issued = ca.issue(f"leaf-{key_type}", key=key_type, dns=["a.test", "b.test"])
    certificate = x509.load_pem_x509_certificate(issued.cert.read_bytes())
    key = load_pem_private_key(issued.key.read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        assert key_type == f"rsa{key.key_size}"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        assert key_type == f"p{key.curve.key_size}"
    else:
        assert isinstance(key, ed25519.Ed25519PrivateKey)
    assert issued.key.stat().st_mode & 0o777 == 0o600


def test_chain_and_names_verify(ca: CertAuthority) -> None:
    issued = ca.issue("verified", key="p256", dns=["a.test"])
    root = x509.load_pem_x509_certificate(ca.cert.read_bytes())
    leaf = x509.load_pem_x509_certificate(issued.cert.read_bytes())
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.test"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    now = datetime.datetime.now(datetime.UTC)
    assert leaf.not_valid_before_utc < now < leaf.not_valid_after_utc


def test_issuing_again_replaces_the_pair(tmp_path: Path) -> None:
    ca = CertAuthority(tmp_path)
    first = ca.issue("x", key="p256").key.read_bytes()
    assert ca.issue("x", key="p256").key.read_bytes() != first
