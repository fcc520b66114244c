"""Throw-away keys and certificates of every type that the tests need."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyType: TypeAlias = Literal["rsa2048", "rsa3072", "rsa4096", "p256", "p384", "ed25519"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)

Usage: TypeAlias = Literal["server", "client", "peer"]
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_LIFETIME = datetime.timedelta(days=2)
_USAGE_OID = {
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "peer": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, as PEM files."""

    name: str
    key_type: KeyType
    cert: Path
    key: Path


def generate_key(key_type: KeyType) -> PrivateKey:
    """Return a new private key."""
    if key_type.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type[3:]))
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if key_type == "p256" else ec.SECP384R1())


class CertAuthority:
    """A certificate authority that lives in one folder, and issues leaf certificates there."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        """Create the authority's own P-256 key (in memory only) and `directory`/`name`.crt."""
        self.directory = directory
        self.cert = directory / f"{name}.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _x509_name(name)
        directory.mkdir(parents=True, exist_ok=True)
        self._certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write(self.cert, self._certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def issue(
        self,
        name: str,
        *,
        key: KeyType = "rsa2048",
        dns: Sequence[str] = ("localhost",),
        ips: Sequence[str] = ("127.0.0.1",),
        uris: Sequence[str] = (),
        usage: Usage = "server",
    ) -> Certificate:
        """Write `name`.crt and `name`.key (mode 0600); an older pair of that name is replaced."""
        private = generate_key(key)
        # RSA key exchange of TLS 1.2 encrypts to the key; clients check that it may.
        key_usage = _key_usage(digital_signature=True, key_encipherment=key.startswith("rsa"))
        names: list[x509.GeneralName] = [x509.DNSName(value) for value in dns]
        names += [x509.IPAddress(ipaddress.ip_address(value)) for value in ips]
        names += [x509.UniformResourceIdentifier(value) for value in uris]
        certificate = (
            _builder(_x509_name(name), self._name, private)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGE_OID[usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        issued = Certificate(
            name, key, self.directory / f"{name}.crt", self.directory / f"{name}.key"
        )
        _write(issued.cert, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(issued.key, _key_pem(private), 0o600)
        return issued


def _x509_name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of containers may lag behind ours.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


def _key_usage(
    *, digital_signature: bool = False, key_encipherment: bool = False, key_cert_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a new file with `mode` from the start, so that a key is never readable by others."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
