"""Operations that are dropped, workers and keys that go while operations wait, many operations."""

from __future__ import annotations

from collections.abc import Callable

import engine_kit as kit
import pytest

from envoy_ext.engine import Engine, Key, Worker

Load = Callable[..., Key]
CHEAP = ("rsa2048", "p256", "p384")


@pytest.mark.parametrize("algorithm", CHEAP)
@pytest.mark.parametrize("dropped", [[0], [9], [4, 5, 6], [0, 9], [9, 8, 1, 0], range(10)])
def test_dropped_before_computing(worker: Worker, load: Load, algorithm: str, dropped: list[int]):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key = load(private)
    with kit.counted() as gained:
        operations = [worker.sign(key, scheme, b"%d" % i) for i in range(10)]
        for i in dropped:
            worker.drop(operations[i])
        left = [i for i in range(10) if i not in dropped]
        assert (worker.queued, worker.pending) == (len(left), len(left))
        for i in left:
            kit.check(algorithm, private, scheme, b"%d" % i, worker.complete(operations[i]))
    assert gained == {
        "submitted": 10,
        f"{algorithm}.dropped": len(dropped),
        **kit.plan(algorithm, len(left)),
    }
    batched = gained.get(f"{algorithm}.batched", 0) + gained.get(f"{algorithm}.single", 0)
    assert batched == gained["submitted"] - gained[f"{algorithm}.dropped"]


@pytest.mark.parametrize("algorithm", CHEAP)
def test_dropped_after_computing(worker: Worker, load: Load, algorithm: str):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key = load(private)
    with kit.counted() as gained:
        operations = [worker.sign(key, scheme, b"%d" % i) for i in range(4)]
        worker.flush()
        worker.drop(operations[1])
        worker.drop(operations[3])
        assert (worker.queued, worker.pending) == (0, 2)
        for i in (2, 0):
            kit.check(algorithm, private, scheme, b"%d" % i, worker.complete(operations[i]))
    assert gained == {
        "submitted": 4,
        f"{algorithm}.dropped": 2,
        **kit.plan(algorithm, 4),
    }


def test_an_operation_is_used_again(worker: Worker, load: Load):
    private = kit.private_key("p256")
    key = load(private)
    first = worker.sign(key, 0x0403, b"first")
    worker.drop(first)
    second = worker.sign(key, 0x0403, b"second")
    assert second == first
    kit.check("p256", private, 0x0403, b"second", worker.complete(second))


def test_a_flush_of_nothing(worker: Worker):
    with kit.counted() as gained:
        worker.flush()
    assert gained == {}


def test_a_key_closed_while_its_operations_wait(engine: Engine, worker: Worker):
    """The old key finishes what was begun with it; the new one serves what comes after."""
    old, new = (kit.private_key("rsa2048", number) for number in range(2))
    key = Key.load(engine, old)
    loaded = kit.locked_bytes()
    operations = [worker.sign(key, 0x0804, b"old") for _ in range(3)]
    key.close()
    renewed = Key.load(engine, new)
    operations += [worker.sign(renewed, 0x0804, b"new") for _ in range(3)]
    for i, operation in enumerate(operations):
        private, message = (old, b"old") if i < 3 else (new, b"new")
        kit.check("rsa2048", private, 0x0804, message, worker.complete(operation))
    assert kit.locked_bytes() >= loaded
    renewed.close()


@pytest.mark.parametrize("how", ["collected", "dropped", "computed, dropped"])
def test_a_key_goes_with_its_last_operation(engine: Engine, worker: Worker, how: str):
    private = kit.private_key("p256")
    worker.complete(worker.sign(warm := Key.load(engine, private), 0x0403, b"m"))
    warm.close()
    before = kit.locked_bytes()
    key = Key.load(engine, private)
    with_key = kit.locked_bytes()
    operations = [worker.sign(key, 0x0403, b"m") for _ in range(2)]
    key.close()
    assert kit.locked_bytes() == with_key
    if how.startswith("computed"):
        worker.flush()
    for operation in operations:
        assert kit.locked_bytes() == with_key
        if how == "collected":
            kit.check("p256", private, 0x0403, b"m", worker.complete(operation))
        else:
            worker.drop(operation)
    assert kit.locked_bytes() == before


def close_worker_with_operations(engine: Engine, *, computed: bool) -> tuple[int, int]:
    """Locked memory before and after a worker that is closed with two operations pending."""
    private = kit.private_key("p256")
    for _ in range(2):  # the first round warms up
        before = kit.locked_bytes()
        key, worker = Key.load(engine, private), Worker(engine)
        for _ in range(2):
            worker.sign(key, 0x0403, b"m")
        if computed:
            worker.flush()
        assert worker.pending == 2
        worker.close()
        key.close()
        after = kit.locked_bytes()
    return before, after


def test_a_worker_closed_with_operations_that_wait(engine: Engine):
    before, after = close_worker_with_operations(engine, computed=False)
    assert after == before


def test_a_worker_closed_with_operations_not_collected(engine: Engine):
    before, after = close_worker_with_operations(engine, computed=True)
    assert after == before


def test_operations_lost_with_their_worker_count_as_dropped(engine: Engine, load: Load):
    key, worker = load(kit.private_key("p256")), Worker(engine)
    with kit.counted() as gained:
        for _ in range(3):
            worker.sign(key, 0x0403, b"m")
        worker.close()
    assert gained == {"submitted": 3, "p256.dropped": 3}


def test_a_worker_takes_over_the_counters_of_one_that_ended(engine: Engine):
    key = Key.load(engine, kit.private_key("p256"))
    with kit.counted() as gained:
        for _ in range(300):  # more than there are blocks
            worker = Worker(engine)
            worker.drop(worker.sign(key, 0x0403, b"m"))
            worker.close()
    key.close()
    assert gained == {"submitted": 300, "p256.dropped": 300}


@pytest.mark.parametrize("algorithm", ["p256", "p384"])
def test_many_operations_pending(worker: Worker, load: Load, algorithm: str):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key, locked = load(private), 0
    for turn in range(2):
        with kit.counted() as gained:
            operations = [worker.sign(key, scheme, b"%d" % i) for i in range(300)]
            assert len(set(operations)) == 300
            assert (worker.queued, worker.pending) == (300, 300)
            if turn > 0:
                assert kit.locked_bytes() == locked  # the second time needs no more memory
            for i in reversed(range(300)):
                signature = worker.complete(operations[i])
                kit.check(algorithm, private, scheme, b"%d" % i, signature)
        assert gained == {"submitted": 300, **kit.plan(algorithm, 300)}
        locked = kit.locked_bytes()


def test_many_keys(engine: Engine, worker: Worker):
    privates = [kit.private_key("p256", number) for number in range(40)]
    keys = [Key.load(engine, private) for private in privates]
    operations = [worker.sign(key, 0x0403, b"m") for key in keys]
    for private, operation in zip(privates, operations, strict=True):
        kit.check("p256", private, 0x0403, b"m", worker.complete(operation))
    for key in keys:
        key.close()
