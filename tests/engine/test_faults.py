"""Injected faults: callers get right results all the same, and every fault is counted."""

from __future__ import annotations

from collections.abc import Callable

import engine_kit as kit
import pytest

from envoy_ext.engine import Engine, EngineError, Key, Worker

Load = Callable[..., Key]
LANE_FAULTS = {
    kit.FAULT_LANE_ERROR: "lane_errors",
    kit.FAULT_WRONG_RESULT: "verify_failures",
    kit.FAULT_CHECK_ERROR: "verify_failures",
}
SOME_MASKS = (0x01, 0x10, 0x5A, 0x80, 0xF0, 0xFF)


def faulty_plan(algorithm: str, fill: int, fault: int, mask: int) -> dict[str, int]:
    """Counters of one batch under a fault."""
    hit = (mask & ((1 << fill) - 1)).bit_count()
    gained = {
        f"{algorithm}.fill{fill}": 1,
        f"{algorithm}.batched": fill - hit,
        f"{algorithm}.single": hit,
        "lane_retries": hit,
        LANE_FAULTS[fault]: hit,
    }
    return {name: count for name, count in gained.items() if count}


@pytest.mark.parametrize("fault", LANE_FAULTS)
@pytest.mark.parametrize("algorithm", ["rsa2048", "p256"])
def test_every_mask(engine: Engine, worker: Worker, load: Load, algorithm: str, fault: int):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key, message = load(private), b"every mask"
    for mask in range(1, 256):
        engine.fault(fault, mask)
        with kit.counted() as gained:
            operations = [worker.sign(key, scheme, message) for _ in range(8)]
            signatures = [worker.complete(operation) for operation in operations]
        # RSA: the same eight times, so that one check does for all.
        for signature in set(signatures):
            kit.check(algorithm, private, scheme, message, signature)
        assert gained == {"submitted": 8, **faulty_plan(algorithm, 8, fault, mask)}


@pytest.mark.parametrize("mask", SOME_MASKS)
@pytest.mark.parametrize("fault", LANE_FAULTS)
@pytest.mark.parametrize("algorithm", kit.ALGORITHMS)
def test_partial_fills(
    engine: Engine, worker: Worker, load: Load, algorithm: str, fault: int, mask: int
):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key = load(private)
    engine.fault(fault, mask)
    for fill in (1, 5):
        with kit.counted() as gained:
            operations = [worker.sign(key, scheme, b"%d" % i) for i in range(fill)]
            for i in kit.shuffled(fill):
                signature = worker.complete(operations[i])
                kit.check(algorithm, private, scheme, b"%d" % i, signature)
        assert gained == {"submitted": fill, **faulty_plan(algorithm, fill, fault, mask)}


@pytest.mark.parametrize("fault", LANE_FAULTS)
def test_decrypting(engine: Engine, worker: Worker, load: Load, fault: int):
    private = kit.rsa_key("rsa2048")
    numbers, key = private.private_numbers(), load(private)
    n = numbers.public_numbers.n
    expected = [pow(n - 1 - i, numbers.d, n).to_bytes(256) for i in range(8)]
    for mask in SOME_MASKS:
        engine.fault(fault, mask)
        with kit.counted() as gained:
            operations = [worker.decrypt(key, (n - 1 - i).to_bytes(256)) for i in range(8)]
            plain = [worker.complete(operation) for operation in operations]
        assert plain == expected
        assert gained == {"submitted": 8, **faulty_plan("rsa2048", 8, fault, mask)}


def test_faults_of_one_key_spare_the_others(engine: Engine, worker: Worker, load: Load):
    privates = [kit.private_key("rsa2048", number) for number in range(2)]
    keys = [load(private) for private in privates]
    engine.fault(kit.FAULT_WRONG_RESULT, 0b01010101)
    operations = [worker.sign(keys[i % 2], 0x0804, b"%d" % i) for i in range(8)]
    for i, operation in enumerate(operations):
        kit.check("rsa2048", privates[i % 2], 0x0804, b"%d" % i, worker.complete(operation))


def test_no_fault_is_no_fault(engine: Engine, worker: Worker, load: Load):
    key = load(kit.private_key("p256"))
    for fault, mask in ((kit.FAULT_NONE, 0xFF), *((fault, 0) for fault in LANE_FAULTS)):
        engine.fault(fault, mask)
        with kit.counted() as gained:
            for operation in [worker.sign(key, 0x0403, b"m") for _ in range(8)]:
                worker.complete(operation)
        assert gained == {"submitted": 8, "p256.fill8": 1, "p256.batched": 8}


@pytest.mark.parametrize("algorithm", kit.ALGORITHMS)
def test_a_wrong_single_result_is_never_returned(
    engine: Engine, worker: Worker, load: Load, algorithm: str
):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key, off = load(private), load(private, off=True)
    engine.set_break_even(algorithm, 9)
    engine.fault(kit.FAULT_SINGLE_WRONG)
    for chosen in (key, off):
        with kit.counted() as gained:
            for _ in range(3):
                with pytest.raises(EngineError, match=kit.OPERATION_TEXT):
                    worker.sign(chosen, scheme, b"m")
        assert gained == {"submitted": 3, f"{algorithm}.failed": 3}
    engine.fault(kit.FAULT_NONE)
    kit.check(algorithm, private, scheme, b"m", worker.sign(off, scheme, b"m"))


@pytest.mark.parametrize("algorithm", ["rsa2048", "p384"])
def test_queued_singles_that_fail(engine: Engine, worker: Worker, load: Load, algorithm: str):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key = load(private)
    engine.set_break_even(algorithm, 4)
    engine.fault(kit.FAULT_SINGLE_WRONG)
    with kit.counted() as gained:
        operations = [worker.sign(key, scheme, b"m") for _ in range(3)]
        for operation in operations:
            with pytest.raises(EngineError, match=kit.OPERATION_TEXT):
                worker.complete(operation)
    assert worker.pending == 0
    assert gained == {"submitted": 3, f"{algorithm}.failed": 3}


def test_decrypting_alone_that_fails_gives_nothing(engine: Engine, worker: Worker, load: Load):
    key = load(kit.private_key("rsa2048"), off=True)
    engine.fault(kit.FAULT_SINGLE_WRONG)
    with pytest.raises(EngineError, match=kit.OPERATION_TEXT):
        worker.decrypt(key, bytes(255) + b"\2")
    assert bytes(worker._out) == bytes(len(worker._out))
