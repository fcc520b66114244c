"""Published vectors: FIPS 186 (PyPI ``cryptography-vectors``) and RFC 6979."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import engine_kit as kit
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from envoy_ext.engine import Engine, Key, Worker, limbs

FIPS_SCHEMES = {"SHA1": 0x0201, "SHA256": 0x0401, "SHA384": 0x0501, "SHA512": 0x0601}


def vector_file(name: str) -> Path:
    vectors = pytest.importorskip("cryptography_vectors")
    return Path(vectors.__file__).parent / "asymmetric" / name


def assignments(name: str) -> Iterator[tuple[str, str]]:
    """Of a CAVS file: ("[", section) and (name, value)."""
    for line in vector_file(name).read_text().splitlines():
        if line.startswith("["):
            yield "[", line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            left, right = line.split("=", 1)
            yield left.strip(), right.strip()


@dataclass(frozen=True)
class SignedMessage:
    bits: int
    key: tuple[int, int, int]
    scheme: int
    message: bytes
    signature: bytes


@cache
def fips_rsa() -> tuple[SignedMessage, ...]:
    found: list[SignedMessage] = []
    now: dict[str, str] = {}
    for name, value in assignments("RSA/FIPS_186-2/SigGen15_186-2.txt"):
        now[name] = value
        if name == "S" and now["SHAAlg"] in FIPS_SCHEMES:
            bits = int(now["["].removeprefix("mod = "))
            key = (int(now["n"], 16), int(now["e"], 16), int(now["d"], 16))
            message, signature = bytes.fromhex(now["Msg"]), bytes.fromhex(value)
            scheme = FIPS_SCHEMES[now["SHAAlg"]]
            found.append(SignedMessage(bits, key, scheme, message, signature))
    return tuple(found)


def numbers(n: int, e: int, d: int) -> dict[str, int]:
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    return {
        "n": n,
        "e": e,
        "d": d,
        "p": p,
        "q": q,
        "dmp1": rsa.rsa_crt_dmp1(d, p),
        "dmq1": rsa.rsa_crt_dmq1(d, q),
        "iqmp": rsa.rsa_crt_iqmp(p, q),
    }


@pytest.mark.parametrize("break_even", [1, 9])
@pytest.mark.parametrize("bits", kit.RSA_SIZES)
def test_rsa_signatures_are_those_of_fips_186(
    engine: Engine, worker: Worker, bits: int, break_even: int
):
    vectors = [vector for vector in fips_rsa() if vector.bits == bits]
    assert {vector.scheme for vector in vectors} == set(FIPS_SCHEMES.values())
    assert len({vector.key for vector in vectors}) == 1
    engine.set_break_even(f"rsa{bits}", break_even)
    key = Key.from_rsa_numbers(engine, numbers(*vectors[0].key))
    results = [worker.sign(key, vector.scheme, vector.message) for vector in vectors]
    for vector, result in zip(vectors, results, strict=True):
        signature = result if isinstance(result, bytes) else worker.complete(result)
        assert signature == vector.signature
    key.close()


def test_rsa_1024_of_fips_186_is_refused(engine: Engine):
    vector = next(vector for vector in fips_rsa() if vector.bits == 1024)
    with pytest.raises(Exception, match=kit.KIND_TEXT):
        Key.from_rsa_numbers(engine, numbers(*vector.key))


def sign_with_nonce(
    engine: Engine, key: Key, algorithm: str, lane: int, digest: bytes, nonce: int
) -> tuple[int, int]:
    ffi, lib = kit.native()
    size = kit.CURVES[algorithm].key_size // 8
    array = ffi.new("uint64_t[6]", limbs(nonce))
    r, s = ffi.new("uint8_t[]", size), ffi.new("uint8_t[]", size)
    assert len(digest) == size
    assert lib.mbk_testing_ec_sign(engine.handle, key.handle, lane, digest, array, r, s)
    return int.from_bytes(bytes(r)), int.from_bytes(bytes(s))


# RFC 6979, A.2.5 and A.2.6: curve, d, scheme, message, k, r, s.
RFC_6979 = [
    (
        "p256",
        "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        0x0403,
        b"sample",
        "A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60",
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    (
        "p384",
        (
            "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8"
            "96D5724E4C70A825F872C9EA60D2EDF5"
        ),
        0x0503,
        b"sample",
        (
            "94ED910D1A099DAD3254E9242AE85ABDE4BA15168EAF0CA87A555FD56D10FBCA"
            "2907E3E83BA95368623B8C4686915CF9"
        ),
        (
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C"
            "81A648152E44ACF96E36DD1E80FABE46"
        ),
        (
            "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94F"
            "A329C145786E679E7B82C71A38628AC8"
        ),
    ),
]


@pytest.mark.usefixtures("needs_crypto_mb")
@pytest.mark.parametrize("lane", range(8))
@pytest.mark.parametrize(("algorithm", "d", "scheme", "message", "k", "r", "s"), RFC_6979)
def test_ecdsa_with_the_nonce_of_rfc_6979(
    engine: Engine,
    lane: int,
    algorithm: str,
    d: str,
    scheme: int,
    message: bytes,
    k: str,
    r: str,
    s: str,
):
    key = Key.from_scalar(engine, algorithm, int(d, 16))
    digest = kit.fitted_digest(algorithm, scheme, message)
    signature = sign_with_nonce(engine, key, algorithm, lane, digest, int(k, 16))
    assert signature == (int(r, 16), int(s, 16))
    key.close()


@pytest.mark.usefixtures("needs_crypto_mb")
@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_ecdsa_with_the_nonces_of_fips_186(engine: Engine, algorithm: str):
    section, count = {"p256": "P-256", "p384": "P-384"}[algorithm], 0
    now: dict[str, str] = {}
    for name, value in assignments("ECDSA/FIPS_186-2/SigGen.txt"):
        now[name] = value
        if name == "S" and now["["] == section:
            message = bytes.fromhex(now["Msg"])
            digest = hashlib.sha1(message, usedforsecurity=False).digest()
            fitted = digest.rjust(kit.CURVES[algorithm].key_size // 8, b"\0")
            key = Key.from_scalar(engine, algorithm, int(now["d"], 16))
            signature = sign_with_nonce(
                engine, key, algorithm, count % 8, fitted, int(now["k"], 16)
            )
            assert signature == (int(now["R"], 16), int(value, 16))
            key.close()
            count += 1
    assert count == 15
