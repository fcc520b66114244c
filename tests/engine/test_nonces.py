"""Nonces of batched ECDSA: in range, never twice."""

from __future__ import annotations

from collections.abc import Callable

import engine_kit as kit
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from envoy_ext.engine import Key, Worker
from envoy_ext.stats import ALGORITHMS

Load = Callable[..., Key]


@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_nonces_are_in_range_and_distinct(algorithm: str):
    ffi, lib = kit.native()
    bits, count = kit.CURVES[algorithm].key_size, 4096
    array = ffi.new("uint64_t[]", count * bits // 64)
    assert lib.mbk_testing_nonces(ALGORITHMS.index(algorithm), array, count)
    data, size = bytes(ffi.buffer(array)), bits // 8
    nonces = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
    assert len(nonces) == count
    assert all(0 < nonce < kit.order(algorithm) for nonce in nonces)
    assert len(set(nonces)) == count
    # Every bit is drawn: none is the same in all (a chance of 2^-4095 each).
    set_somewhere, set_everywhere = 0, (1 << bits) - 1
    for nonce in nonces:
        set_somewhere |= nonce
        set_everywhere &= nonce
    assert (set_somewhere, set_everywhere) == ((1 << bits) - 1, 0)


@pytest.mark.parametrize("break_even", [1, 8])
@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_signatures_of_one_message_differ(
    worker: Worker, load: Load, algorithm: str, break_even: int
):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    kit.the_engine().set_break_even(algorithm, break_even)
    key = load(private)
    operations = [worker.sign(key, scheme, b"one message") for _ in range(100)]
    signatures = [worker.complete(operation) for operation in operations]
    for signature in signatures:
        kit.check(algorithm, private, scheme, b"one message", signature)
    assert len({decode_dss_signature(signature)[0] for signature in signatures}) == 100


@pytest.mark.parametrize("algorithm", kit.CURVES)
def test_retried_lanes_draw_anew(worker: Worker, load: Load, algorithm: str):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key, rs = load(private), set()
    kit.the_engine().fault(kit.FAULT_WRONG_RESULT, 0x55)
    for _ in range(5):
        operations = [worker.sign(key, scheme, b"m") for _ in range(8)]
        rs |= {decode_dss_signature(worker.complete(operation))[0] for operation in operations}
    assert len(rs) == 40
