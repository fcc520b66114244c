"""What the tests of the engine share: the process's engine, keys, checks of results."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from envoy_ext import engine as binding
from envoy_ext.engine import Engine, PrivateKey

ROOT = Path(__file__).resolve().parents[2]
LANES_VARIABLE = "MBK_TEST_LANES"
CRYPTO_MB, PORTABLE = "crypto_mb", "portable"

RSA_SIZES = (2048, 3072, 4096)
RSA_ALGORITHMS = tuple(f"rsa{bits}" for bits in RSA_SIZES)
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}
ALGORITHMS = (*RSA_ALGORITHMS, *CURVES)
FIELD_PRIMES = {
    "p256": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "p384": 2**384 - 2**128 - 2**96 + 2**32 - 1,
}

PKCS1_SCHEMES = {0x0401: hashes.SHA256(), 0x0501: hashes.SHA384(), 0x0601: hashes.SHA512()}
PKCS1_SHA1, PKCS1_MD5_SHA1 = 0x0201, 0xFF01
PSS_SCHEMES = {0x0804: hashes.SHA256(), 0x0805: hashes.SHA384(), 0x0806: hashes.SHA512()}
RSA_SCHEMES = (*PKCS1_SCHEMES, PKCS1_SHA1, PKCS1_MD5_SHA1, *PSS_SCHEMES)
ECDSA_DIGESTS = {0x0403: "sha256", 0x0503: "sha384", 0x0603: "sha512", 0x0203: "sha1"}
ECDSA_SCHEMES = tuple(ECDSA_DIGESTS)
# One scheme of each algorithm, for tests of something else.
USUAL_SCHEME = {"p256": 0x0403, "p384": 0x0503, **dict.fromkeys(RSA_ALGORITHMS, 0x0401)}

FAULT_NONE, FAULT_LANE_ERROR, FAULT_WRONG_RESULT, FAULT_CHECK_ERROR, FAULT_SINGLE_WRONG = range(5)

SCHEME_TEXT = "signature scheme does not fit the key"
INPUT_TEXT = "input or output length is wrong"
KIND_TEXT = "key type, size or public exponent is not handled"
NUMBERS_TEXT = "the numbers of the key do not agree with each other"
KEY_TEST_TEXT = "a test operation with the key gave a wrong result"
OPERATION_TEXT = "the private-key operation failed"


@cache
def batching_reason() -> str | None:
    """None when crypto_mb can batch here; asked in a process of its own, which has its engine."""
    program = "from envoy_ext.cpu import ifma_reason; print(ifma_reason() or '')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip() or None


@cache
def lanes_kind() -> str:
    """The back end of this process: asked for by the environment, else the best there is."""
    wanted = os.environ.get(LANES_VARIABLE)
    if wanted in {CRYPTO_MB, PORTABLE}:
        return wanted
    if wanted:
        raise ValueError(f"{LANES_VARIABLE}={wanted}: not {CRYPTO_MB} or {PORTABLE}")
    return CRYPTO_MB if batching_reason() is None else PORTABLE


def no_crypto_mb_reason() -> str | None:
    """Why tests that need crypto_mb cannot run here; None when they can."""
    if lanes_kind() == CRYPTO_MB:
        return None
    if os.environ.get(LANES_VARIABLE) == PORTABLE:
        return f"{LANES_VARIABLE}={PORTABLE}"
    return batching_reason()


@cache
def the_engine() -> Engine:
    made = Engine(portable=lanes_kind() == PORTABLE)
    reason = made.lanes_reason()
    assert reason is None, reason
    return made


def native() -> tuple[FFI, Any]:
    """The cffi instance and the engine's library, for what the binding does not offer."""
    return binding._library()


def reset_engine() -> None:
    """No fault, and every batch is computed as one, however small."""
    the_engine().fault(FAULT_NONE)
    for algorithm in ALGORITHMS:
        the_engine().set_break_even(algorithm, 1)


@cache
def private_key(algorithm: str, number: int = 0) -> PrivateKey:
    """Keys of one algorithm, told apart by their number."""
    assert number >= 0
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa")))


def rsa_key(algorithm: str, number: int = 0) -> rsa.RSAPrivateKey:
    key = private_key(algorithm, number)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def ec_key(algorithm: str, number: int = 0) -> ec.EllipticCurvePrivateKey:
    key = private_key(algorithm, number)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def order(algorithm: str) -> int:
    return {
        "p256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "p384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF << 192
        | 0xC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    }[algorithm]


def pkcs1_block(bits: int, payload: bytes) -> int:
    """EMSA-PKCS1-v1_5 around a payload, as a number."""
    length = bits // 8
    return int.from_bytes(b"\0\1" + b"\xff" * (length - 3 - len(payload)) + b"\0" + payload)


def check_pkcs1(key: rsa.RSAPrivateKey, scheme: int, message: bytes, signature: bytes) -> None:
    """Asserts that it is the one right PKCS#1 v1.5 signature."""
    if scheme in PKCS1_SCHEMES:
        assert signature == key.sign(message, padding.PKCS1v15(), PKCS1_SCHEMES[scheme])
        return
    payload = hashlib.sha1(message, usedforsecurity=False).digest()
    if scheme == PKCS1_MD5_SHA1:
        payload = hashlib.md5(message, usedforsecurity=False).digest() + payload
    else:
        payload = bytes.fromhex("3021300906052b0e03021a05000414") + payload
    # RSA is a permutation: one number below n gives this block.
    public, number = key.public_key().public_numbers(), int.from_bytes(signature)
    assert len(signature) == key.key_size // 8
    assert number < public.n
    assert pow(number, public.e, public.n) == pkcs1_block(key.key_size, payload)


def fitted_digest(algorithm: str, scheme: int, message: bytes) -> bytes:
    """The digest as ECDSA uses it: as long as the order, cut at the right or zero-extended."""
    digest = hashlib.new(ECDSA_DIGESTS[scheme], message, usedforsecurity=False).digest()
    size = CURVES[algorithm].key_size // 8
    return digest[:size].rjust(size, b"\0")


def verify_ecdsa(
    algorithm: str, r: int, s: int, public: ec.EllipticCurvePublicKey, digest: bytes
) -> None:
    """Raises InvalidSignature unless (r, s) signs the fitted digest."""
    same_size = {32: hashes.SHA256(), 48: hashes.SHA384()}[CURVES[algorithm].key_size // 8]
    public.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(same_size)))


def check(algorithm: str, key: PrivateKey, scheme: int, message: bytes, signature: bytes) -> None:
    """Raises or asserts unless it is a right signature, in its canonical form."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(signature)
        assert encode_dss_signature(r, s) == signature
        digest = fitted_digest(algorithm, scheme, message)
        verify_ecdsa(algorithm, r, s, key.public_key(), digest)
    elif scheme in PSS_SCHEMES:
        digest_kind = PSS_SCHEMES[scheme]
        pss = padding.PSS(padding.MGF1(digest_kind), digest_kind.digest_size)
        assert len(signature) == key.key_size // 8
        key.public_key().verify(signature, message, pss, digest_kind)
    else:
        check_pkcs1(key, scheme, message, signature)


def delta(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What the counters gained, without what is zero: ``{"submitted": 3, "p256.batched": 3}``."""
    gained: dict[str, Any] = {}
    for name, now in after.items():
        if isinstance(now, int):
            gained[name] = now - before[name]
        elif name == "ops":
            for algorithm, counts in now.items():
                for outcome, count in counts.items():
                    gained[f"{algorithm}.{outcome}"] = count - before[name][algorithm][outcome]
        elif name == "fill":
            for algorithm, fills in now.items():
                for lane, count in enumerate(fills):
                    then = before[name][algorithm][lane]
                    gained[f"{algorithm}.fill{lane + 1}"] = count - then
    check_times(after)
    return {name: count for name, count in gained.items() if count != 0}


def check_times(counters: dict[str, Any]) -> None:
    """Asserts that the histograms of durations hold every operation and every call once."""
    computed = 0
    for algorithm, ops in counters["ops"].items():
        alone = ops["single"] + ops["failed"]
        assert sum(counters["compute"][algorithm]) == sum(counters["fill"][algorithm]) + alone
        computed += ops["batched"] + alone
    assert sum(counters["wait"]) == computed


def plan(algorithm: str, operations: int, break_even: int = 1) -> dict[str, int]:
    """Counters of a flush of so many operations: full batches, then a batch or singles."""
    gained: dict[str, int] = {}

    def add(name: str, count: int) -> None:
        if count:
            gained[f"{algorithm}.{name}"] = gained.get(f"{algorithm}.{name}", 0) + count

    while operations > 0:
        fill = min(operations, 8)
        if fill >= break_even:
            add(f"fill{fill}", 1)
            add("batched", fill)
        else:
            fill = 1
            add("single", 1)
        operations -= fill
    return gained


@contextmanager
def counted() -> Iterator[dict[str, Any]]:
    """A dictionary that holds what the counters gained once the block is left."""
    gained: dict[str, Any] = {}
    before = the_engine().stats()
    yield gained
    gained.update(delta(before, the_engine().stats()))


def locked_bytes() -> int:
    """Locked memory of the process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmLck:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmLck in /proc/self/status")


def in_thread(function: Callable[[], None]) -> None:
    """Runs the function in a thread and returns when the kernel has no such thread any more."""
    failures: list[BaseException] = []
    tasks: list[int] = []

    def run() -> None:
        tasks.append(threading.get_native_id())
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    while Path(f"/proc/self/task/{tasks[0]}").exists():
        time.sleep(0.001)
    if failures:
        raise failures[0]


def montgomery(algorithm: str, value: int) -> int:
    prime = FIELD_PRIMES[algorithm]
    return (value << CURVES[algorithm].key_size) % prime


def shuffled(count: int, step: int = 7) -> Sequence[int]:
    """0..count-1 in an order that is neither ascending nor descending."""
    return sorted(range(count), key=lambda i: (i * step) % 11)
