"""What the engine does not do, and what it says then."""

from __future__ import annotations

from collections.abc import Callable

import engine_kit as kit
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from envoy_ext.engine import Engine, EngineError, Key, Worker, rsa_numbers

Load = Callable[..., Key]
FIELDS = ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")
ALL_SCHEMES = (*kit.RSA_SCHEMES, *kit.ECDSA_SCHEMES)
# TLS schemes of other keys, and no schemes at all.
FOREIGN_SCHEMES = (0x0000, 0x0301, 0x0303, 0x0807, 0x0808, 0x0809, 0x0704, 0xFFFF)


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("algorithm", kit.ALGORITHMS)
def test_schemes_of_other_keys(worker: Worker, load: Load, algorithm: str, *, off: bool):
    key = load(kit.private_key(algorithm), off=off)
    own = kit.ECDSA_SCHEMES if algorithm in kit.CURVES else kit.RSA_SCHEMES
    with kit.counted() as gained:
        for scheme in {*ALL_SCHEMES, *FOREIGN_SCHEMES} - set(own):
            with pytest.raises(EngineError, match=kit.SCHEME_TEXT):
                worker.sign(key, scheme, b"m")
    assert gained == {}
    assert (worker.queued, worker.pending) == (0, 0)


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_an_ec_key_decrypts_nothing(worker: Worker, load: Load, algorithm: str, *, off: bool):
    key = load(kit.private_key(algorithm), off=off)
    for size in (32, 48, 256):
        with pytest.raises(EngineError, match=kit.SCHEME_TEXT):
            worker.decrypt(key, bytes(size))


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("algorithm", kit.RSA_ALGORITHMS)
def test_ciphertexts_that_are_none(worker: Worker, load: Load, algorithm: str, *, off: bool):
    private = kit.rsa_key(algorithm)
    size, n = private.key_size // 8, private.public_key().public_numbers().n
    key = load(private, off=off)
    short = [bytes(length) for length in (0, 1, size - 1, size + 1, 2 * size)]
    large = [number.to_bytes(size) for number in (n, n + 1, 256**size - 1)]
    with kit.counted() as gained:
        for ciphertext in (*short, *large):
            with pytest.raises(EngineError, match=kit.INPUT_TEXT):
                worker.decrypt(key, ciphertext)
    assert gained == {}
    assert (worker.queued, worker.pending) == (0, 0)


@pytest.mark.parametrize("algorithm", kit.ALGORITHMS)
def test_short_output(worker: Worker, load: Load, algorithm: str):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key, off = load(private), load(private, off=True)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        too_short, enough = 8, {"p256": 72, "p384": 104}[algorithm]
    else:
        too_short, enough = private.key_size // 8 - 1, private.key_size // 8
    operations = [worker.sign(key, scheme, b"m") for _ in range(3)]
    with pytest.raises(EngineError, match=kit.INPUT_TEXT):
        worker.complete(operations[0], room=too_short)
    with pytest.raises(EngineError, match=kit.INPUT_TEXT):
        worker.complete(operations[1], room=0)
    assert worker.pending == 1
    kit.check(algorithm, private, scheme, b"m", worker.complete(operations[2], room=enough))
    with pytest.raises(EngineError, match=kit.INPUT_TEXT):
        worker.sign(off, scheme, b"m", room=too_short)
    kit.check(algorithm, private, scheme, b"m", worker.sign(off, scheme, b"m", room=enough))


@pytest.mark.parametrize("off", [False, True])
def test_exponent_three(engine: Engine, *, off: bool):
    with pytest.raises(EngineError, match=kit.KIND_TEXT):
        Key.load(engine, rsa.generate_private_key(3, 2048), off=off)


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1()])
def test_other_curves(engine: Engine, curve: ec.EllipticCurve, *, off: bool):
    with pytest.raises(EngineError, match=kit.KIND_TEXT):
        Key.load(engine, ec.generate_private_key(curve), off=off)


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("algorithm", kit.RSA_ALGORITHMS)
def test_a_flipped_bit(engine: Engine, algorithm: str, field: str, *, off: bool):
    numbers = rsa_numbers(kit.rsa_key(algorithm))
    width = numbers[field].bit_length()
    for bit in sorted({0, 1, 2, 31, 63, 64, width // 2, width - 2, width - 1, width, width + 64}):
        wrong = numbers | {field: numbers[field] ^ 1 << bit}
        with pytest.raises(EngineError, match=f"^({kit.NUMBERS_TEXT}|{kit.KIND_TEXT})$"):
            Key.from_rsa_numbers(engine, wrong, off=off)


@pytest.mark.parametrize("field", FIELDS)
def test_every_single_bit_of_an_rsa_2048_key(engine: Engine, field: str):
    numbers = rsa_numbers(kit.rsa_key("rsa2048"))
    step = 1 if field == "e" else 13
    for bit in range(0, numbers[field].bit_length(), step):
        with pytest.raises(EngineError, match=f"^({kit.NUMBERS_TEXT}|{kit.KIND_TEXT})$"):
            Key.from_rsa_numbers(engine, numbers | {field: numbers[field] ^ 1 << bit})


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ["zero", "one", "another key's", "all ones"])
def test_a_replaced_number(engine: Engine, field: str, value: str):
    numbers, other = (rsa_numbers(kit.rsa_key("rsa2048", number)) for number in (0, 1))
    if (field, value) == ("e", "another key's"):
        other["e"] = 3
    replaced = {
        "zero": 0,
        "one": 1,
        "another key's": other[field],
        "all ones": 2 ** numbers[field].bit_length() - 1,
    }[value]
    with pytest.raises(EngineError, match=f"^({kit.NUMBERS_TEXT}|{kit.KIND_TEXT})$"):
        Key.from_rsa_numbers(engine, numbers | {field: replaced})


def test_swapped_primes(engine: Engine):
    numbers = rsa_numbers(kit.rsa_key("rsa2048"))
    with pytest.raises(EngineError, match=kit.NUMBERS_TEXT):
        Key.from_rsa_numbers(engine, numbers | {"p": numbers["q"], "q": numbers["p"]})


def test_consistently_swapped_primes_are_a_key(engine: Engine, worker: Worker):
    private = kit.rsa_key("rsa2048")
    numbers = rsa_numbers(private)
    p, q = numbers["p"], numbers["q"]
    swapped = numbers | {
        "p": q,
        "q": p,
        "dmp1": numbers["dmq1"],
        "dmq1": numbers["dmp1"],
        "iqmp": pow(p, -1, q),
    }
    key = Key.from_rsa_numbers(engine, swapped)
    operation = worker.sign(key, 0x0401, b"m")
    kit.check("rsa2048", private, 0x0401, b"m", worker.complete(operation))
    key.close()


def test_either_form_of_d_is_a_key(engine: Engine, worker: Worker):
    private = kit.rsa_key("rsa2048")
    numbers = rsa_numbers(private)
    p, q, e = numbers["p"], numbers["q"], numbers["e"]
    for d in (pow(e, -1, (p - 1) * (q - 1)), rsa.rsa_recover_private_exponent(e, p, q)):
        key = Key.from_rsa_numbers(engine, numbers | {"d": d})
        operation = worker.sign(key, 0x0401, b"m")
        kit.check("rsa2048", private, 0x0401, b"m", worker.complete(operation))
        key.close()


def test_crt_numbers_that_are_not_reduced(engine: Engine):
    numbers = rsa_numbers(kit.rsa_key("rsa2048"))
    for field, modulus in (("dmp1", "p"), ("dmq1", "q")):
        wrong = numbers | {field: numbers[field] + numbers[modulus] - 1}
        with pytest.raises(EngineError, match=kit.NUMBERS_TEXT):
            Key.from_rsa_numbers(engine, wrong)
    with pytest.raises(EngineError, match=kit.NUMBERS_TEXT):
        Key.from_rsa_numbers(engine, numbers | {"iqmp": numbers["iqmp"] + numbers["p"]})


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_scalars_out_of_range(engine: Engine, algorithm: str, *, off: bool):
    order, bits = kit.order(algorithm), kit.CURVES[algorithm].key_size
    for d in (0, order, order + 1, 2**bits - 1, 2**bits, 2 ** (bits + 64), order << 64):
        with pytest.raises(EngineError, match=kit.NUMBERS_TEXT):
            Key.from_scalar(engine, algorithm, d, off=off)


@pytest.mark.parametrize("algorithm", kit.RSA_ALGORITHMS)
def test_a_scalar_for_an_rsa_algorithm(engine: Engine, algorithm: str):
    with pytest.raises(EngineError, match=kit.KIND_TEXT):
        Key.from_scalar(engine, algorithm, 1)


@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_public_point(load: Load, algorithm: str):
    private, other = kit.ec_key(algorithm), kit.ec_key(algorithm, 1)
    key, prime = load(private), kit.FIELD_PRIMES[algorithm]
    numbers = private.public_key().public_numbers()
    others = other.public_key().public_numbers()
    x, y, one = (kit.montgomery(algorithm, value) for value in (numbers.x, numbers.y, 1))
    other_x, other_y = (kit.montgomery(algorithm, value) for value in (others.x, others.y))
    assert key.is_public_point(x, y, one)
    wrong = [
        (x, prime - y, one),
        (y, x, one),
        (other_x, other_y, one),
        (x, other_y, one),
        (numbers.x, numbers.y, 1),
        (x, y, 1),
        (x, y, 0),
        (x, y, kit.montgomery(algorithm, 2)),
        (0, 0, 0),
    ]
    for bit in range(0, kit.CURVES[algorithm].key_size, 17):
        wrong += [(x ^ 1 << bit, y, one), (x, y ^ 1 << bit, one), (x, y, one ^ 1 << bit)]
    assert not any(key.is_public_point(*point) for point in wrong)


def test_an_rsa_key_has_no_public_point(load: Load):
    assert not load(kit.private_key("rsa2048")).is_public_point(1, 1, 1)


@pytest.mark.parametrize("algorithm", kit.ALGORITHMS)
def test_a_key_is_found_in_its_own_der(load: Load, algorithm: str):
    encoding = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    keys = [kit.private_key(algorithm, number) for number in range(2)]
    own, other = (key.public_key().public_bytes(*encoding) for key in keys)
    key = load(keys[0])
    assert key.is_in(own)
    assert key.is_in(other + own + other)
    assert not key.is_in(other)
    assert not key.is_in(b"")
    last = own.rindex(b"\x02\x03\x01\0\1") if algorithm in kit.RSA_ALGORITHMS else len(own)
    assert not key.is_in(own[: last - 1])


@pytest.mark.parametrize("algorithm", ["rsa2048", "p256", "p384"])
def test_a_key_that_the_lanes_get_wrong_is_refused(engine: Engine, algorithm: str):
    private = kit.private_key(algorithm)
    for fault in (kit.FAULT_LANE_ERROR, kit.FAULT_WRONG_RESULT, kit.FAULT_CHECK_ERROR):
        for mask in (0x01, 0x80, 0xFF):
            engine.fault(fault, mask)
            with pytest.raises(EngineError, match=kit.KEY_TEST_TEXT):
                Key.load(engine, private)
    Key.load(engine, private, off=True).close()  # needs no lanes
    engine.fault(kit.FAULT_SINGLE_WRONG)
    with pytest.raises(EngineError, match=kit.KEY_TEST_TEXT):
        Key.load(engine, private, off=True)
    engine.fault(kit.FAULT_NONE)
    Key.load(engine, private).close()
