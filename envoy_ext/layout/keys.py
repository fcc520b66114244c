"""Keys whose every number is known, to be looked for in Envoy's memory."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

LIMB_BYTES = 8
RSA_NUMBERS = ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")

# Field primes; a coordinate is kept as c * 2^(64 * limbs) mod p (Montgomery form).
_PRIMES = {
    "secp256r1": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "secp384r1": 2**384 - 2**128 - 2**96 + 2**32 - 1,
}


@dataclass(frozen=True)
class KnownKey:
    """A private key and its certificate (PEM), that in DER, and the numbers as they lie in memory.

    ``numbers`` are BIGNUM contents, little-endian limbs without leading zero limbs: the eight of
    RSA, or ``scalar``. ``point`` is empty for RSA, else the Jacobian ``x``, ``y``, ``z`` of the
    public point in Montgomery form, as long as the field.
    """

    name: str
    certificate: bytes
    certificate_der: bytes
    private_key: bytes
    numbers: Mapping[str, bytes]
    point: Mapping[str, bytes]


def known_keys(rounds: int = 2) -> list[KnownKey]:
    """Make RSA-2048, P-256 and P-384 keys, `rounds` of each: more of them exclude chance hits."""
    keys: list[KnownKey] = []
    for index in range(rounds):
        keys.append(_rsa_key(f"rsa2048-{index}"))
        keys.append(_ec_key(f"p256-{index}", ec.SECP256R1()))
        keys.append(_ec_key(f"p384-{index}", ec.SECP384R1()))
    return keys


def limbs(number: int) -> bytes:
    """Return a number as little-endian limbs, without leading zero limbs."""
    count = max(1, -(-number.bit_length() // (8 * LIMB_BYTES)))
    return number.to_bytes(count * LIMB_BYTES, "little")


def _rsa_key(name: str) -> KnownKey:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_numbers()
    values = (
        private.public_numbers.n,
        private.public_numbers.e,
        private.d,
        private.p,
        private.q,
        private.dmp1,
        private.dmq1,
        private.iqmp,
    )
    numbers = {what: limbs(value) for what, value in zip(RSA_NUMBERS, values, strict=True)}
    return _known(name, key, numbers, {})


def _ec_key(name: str, curve: ec.EllipticCurve) -> KnownKey:
    key = ec.generate_private_key(curve)
    private = key.private_numbers()
    prime = _PRIMES[curve.name]
    size = curve.key_size // 8

    def montgomery(number: int) -> bytes:
        return ((number << curve.key_size) % prime).to_bytes(size, "little")

    point = {
        "x": montgomery(private.public_numbers.x),
        "y": montgomery(private.public_numbers.y),
        "z": montgomery(1),
    }
    numbers = {"scalar": limbs(private.private_value)}
    return _known(name, key, numbers, point)


def _known(
    name: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    numbers: Mapping[str, bytes],
    point: Mapping[str, bytes],
) -> KnownKey:
    certificate = _certificate(name, key)
    return KnownKey(
        name,
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
        _pem(key),
        numbers,
        point,
    )


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(
    name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    return builder.sign(key, hashes.SHA256())
