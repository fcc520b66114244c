"""Results against those of the ``cryptography`` package."""

from __future__ import annotations

from collections.abc import Callable

import engine_kit as kit
import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envoy_ext.engine import Engine, Key, Worker

Load = Callable[..., Key]
CASES = [
    *((name, scheme) for name in kit.RSA_ALGORITHMS for scheme in kit.RSA_SCHEMES),
    *((name, scheme) for name in kit.CURVES for scheme in kit.ECDSA_SCHEMES),
]
FEW = settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(("algorithm", "scheme"), CASES)
@FEW
@given(messages=st.lists(st.binary(max_size=300), min_size=1, max_size=9), alone=st.booleans())
def test_signatures_verify(
    worker: Worker, load: Load, algorithm: str, scheme: int, messages: list[bytes], *, alone: bool
):
    private = kit.private_key(algorithm)
    key = load(private, off=alone)
    results = [worker.sign(key, scheme, message) for message in messages]
    assert all(isinstance(result, bytes) == alone for result in results)
    for message, result in zip(messages, results, strict=True):
        kit.check(algorithm, private, scheme, message, result if alone else worker.complete(result))


@pytest.mark.parametrize("scheme", [0x0401, 0x0804, 0x0203])
def test_long_messages(worker: Worker, load: Load, scheme: int):
    algorithm = "p384" if scheme == 0x0203 else "rsa2048"
    private = kit.private_key(algorithm)
    message = bytes(range(256)) * 1024
    operation = worker.sign(load(private), scheme, message)
    kit.check(algorithm, private, scheme, message, worker.complete(operation))


def test_pss_salts_differ(worker: Worker, load: Load):
    key = load(kit.private_key("rsa2048"))
    operations = [worker.sign(key, 0x0804, b"the same") for _ in range(16)]
    assert len({worker.complete(operation) for operation in operations}) == 16


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("algorithm", kit.RSA_ALGORITHMS)
def test_raw_decrypt(worker: Worker, load: Load, algorithm: str, *, off: bool):
    private = kit.rsa_key(algorithm)
    numbers = private.private_numbers()
    n, size = numbers.public_numbers.n, private.key_size // 8
    ciphertexts = [0, 1, n - 1, n - 2, n >> 64, n // 3]
    key = load(private, off=off)
    results = [worker.decrypt(key, c.to_bytes(size)) for c in ciphertexts]
    for c, result in zip(ciphertexts, results, strict=True):
        plain = result if off else worker.complete(result)
        assert plain == pow(c, numbers.d, n).to_bytes(size)


def test_decrypt_leaves_the_padding_in_place(worker: Worker, load: Load):
    private = kit.rsa_key("rsa2048")
    secret = b"\x03\x03" + bytes(46)
    ciphertext = private.public_key().encrypt(secret, padding.PKCS1v15())
    plain = worker.complete(worker.decrypt(load(private), ciphertext))
    assert plain[:2] == b"\0\2"
    assert plain.endswith(b"\0" + secret)
    assert 0 not in plain[2 : -len(secret) - 1]


@pytest.mark.parametrize("algorithm", kit.CURVES)
@pytest.mark.parametrize("which", ["one", "two", "last"])
def test_scalars_at_the_ends_of_the_range(
    engine: Engine, worker: Worker, algorithm: str, which: str
):
    from cryptography.hazmat.primitives.asymmetric import ec

    d = {"one": 1, "two": 2, "last": kit.order(algorithm) - 1}[which]
    private = ec.derive_private_key(d, kit.CURVES[algorithm])
    key = Key.from_scalar(engine, algorithm, d)
    scheme = kit.USUAL_SCHEME[algorithm]
    with kit.counted() as gained:
        operations = [worker.sign(key, scheme, bytes([i])) for i in range(8)]
        for i, operation in enumerate(operations):
            kit.check(algorithm, private, scheme, bytes([i]), worker.complete(operation))
    assert gained == {"submitted": 8, **kit.plan(algorithm, 8)}
    key.close()
