"""Fills, mixtures, break-even settings, and the counters that tell of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import engine_kit as kit
import pytest

from envoy_ext.engine import Engine, EngineError, Key, PrivateKey, Worker

Load = Callable[..., Key]
CHEAP = ("rsa2048", "p256", "p384")


def sign_all(
    worker: Worker, keys: list[tuple[Key, PrivateKey]], algorithm: str, count: int
) -> None:
    """Signs with the keys in turn and checks what comes out, in another order."""
    scheme = kit.USUAL_SCHEME[algorithm]
    messages = [b"message %d" % i for i in range(count)]
    results = [
        worker.sign(keys[i % len(keys)][0], scheme, message) for i, message in enumerate(messages)
    ]
    for i in kit.shuffled(count):
        result = results[i]
        signature = result if isinstance(result, bytes) else worker.complete(result)
        kit.check(algorithm, keys[i % len(keys)][1], scheme, messages[i], signature)


@pytest.mark.parametrize("count", range(1, 20))
@pytest.mark.parametrize("algorithm", CHEAP)
def test_every_fill(worker: Worker, load: Load, algorithm: str, count: int):
    private = kit.private_key(algorithm)
    keys = [(load(private), private)]
    with kit.counted() as gained:
        sign_all(worker, keys, algorithm, count)
    assert gained == {"submitted": count, **kit.plan(algorithm, count)}


@pytest.mark.parametrize("count", [1, 3, 8, 10])
@pytest.mark.parametrize("algorithm", ["rsa3072", "rsa4096"])
def test_fills_of_large_keys(worker: Worker, load: Load, algorithm: str, count: int):
    private = kit.private_key(algorithm)
    keys = [(load(private), private)]
    with kit.counted() as gained:
        sign_all(worker, keys, algorithm, count)
    assert gained == {"submitted": count, **kit.plan(algorithm, count)}


@pytest.mark.parametrize("algorithm", CHEAP)
def test_keys_of_one_size_share_a_batch(worker: Worker, load: Load, algorithm: str):
    privates = [kit.private_key(algorithm, number) for number in range(3)]
    keys = [(load(private), private) for private in privates]
    with kit.counted() as gained:
        sign_all(worker, keys, algorithm, 16)
    assert gained == {"submitted": 16, f"{algorithm}.fill8": 2, f"{algorithm}.batched": 16}


def test_one_key_loaded_twice_shares_a_batch(engine: Engine, worker: Worker):
    private = kit.private_key("p256")
    keys = [(Key.load(engine, private), private) for _ in range(2)]
    with kit.counted() as gained:
        sign_all(worker, keys, "p256", 8)
    assert gained == {"submitted": 8, "p256.fill8": 1, "p256.batched": 8}
    for key, _ in keys:
        key.close()


def test_algorithms_are_batched_apart(worker: Worker, load: Load):
    privates = {name: kit.private_key(name) for name in kit.ALGORITHMS}
    keys = {name: load(private) for name, private in privates.items()}
    names = [*kit.ALGORITHMS, "p256", "rsa2048", "p256"] * 2
    with kit.counted() as gained:
        operations = [
            worker.sign(keys[name], kit.USUAL_SCHEME[name], b"%d" % i)
            for i, name in enumerate(names)
        ]
        assert worker.queued == len(names)
        worker.flush()
        assert (worker.queued, worker.pending) == (0, len(names))
        for i, name in enumerate(names):
            signature = worker.complete(operations[i])
            kit.check(name, privates[name], kit.USUAL_SCHEME[name], b"%d" % i, signature)
    expected: dict[str, int] = {"submitted": len(names)}
    for name, count in Counter(names).items():
        expected |= kit.plan(name, count)
    assert gained == expected


def test_signing_and_decrypting_share_a_batch(worker: Worker, load: Load):
    private = kit.rsa_key("rsa2048")
    numbers, key = private.private_numbers(), load(private)
    n = numbers.public_numbers.n
    with kit.counted() as gained:
        signing = [worker.sign(key, scheme, b"m") for scheme in kit.RSA_SCHEMES[:4]]
        decrypting = [worker.decrypt(key, (n - 1 - i).to_bytes(256)) for i in range(4)]
        for scheme, operation in zip(kit.RSA_SCHEMES, signing, strict=False):
            kit.check("rsa2048", private, scheme, b"m", worker.complete(operation))
        for i, operation in enumerate(decrypting):
            assert worker.complete(operation) == pow(n - 1 - i, numbers.d, n).to_bytes(256)
    assert gained == {"submitted": 8, "rsa2048.fill8": 1, "rsa2048.batched": 8}


@pytest.mark.parametrize("count", [1, 2, 5, 8, 11, 16, 19])
@pytest.mark.parametrize("break_even", range(1, 9))
@pytest.mark.parametrize("algorithm", ["rsa2048", "p256"])
def test_break_even_decides(
    engine: Engine, worker: Worker, load: Load, algorithm: str, break_even: int, count: int
):
    private = kit.private_key(algorithm)
    keys = [(load(private), private)]
    engine.set_break_even(algorithm, break_even)
    assert engine.break_even(algorithm) == break_even
    with kit.counted() as gained:
        sign_all(worker, keys, algorithm, count)
    assert gained == {"submitted": count, **kit.plan(algorithm, count, break_even)}


@pytest.mark.parametrize("algorithm", CHEAP)
def test_break_even_of_nine_never_waits(engine: Engine, worker: Worker, load: Load, algorithm: str):
    private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
    key = load(private)
    engine.set_break_even(algorithm, 9)
    with kit.counted() as gained:
        signature = worker.sign(key, scheme, b"m")
    assert isinstance(signature, bytes)
    kit.check(algorithm, private, scheme, b"m", signature)
    assert gained == {"submitted": 1, f"{algorithm}.single": 1}


@pytest.mark.parametrize(
    ("break_even", "expected", "waits"),
    [(1, 0, False), (1, 1, True), (3, 1, False), (3, 2, True), (8, 6, False), (8, 7, True)],
)
def test_waits_only_when_enough_may_come(
    engine: Engine, worker: Worker, load: Load, break_even: int, expected: int, *, waits: bool
):
    private = kit.private_key("p256")
    key = load(private)
    engine.set_break_even("p256", break_even)
    worker.expect(expected)
    with kit.counted() as gained:
        result = worker.sign(key, 0x0403, b"m")
        assert isinstance(result, bytes) is not waits
        assert (worker.queued, worker.pending) == ((1, 1) if waits else (0, 0))
        signature = worker.complete(result) if waits else result
    kit.check("p256", private, 0x0403, b"m", signature)
    assert gained == {"submitted": 1, **kit.plan("p256", 1, break_even)}


@pytest.mark.parametrize(("queued", "waits"), [(2, False), (3, True), (4, True)])
def test_the_queue_counts_as_company(
    engine: Engine, worker: Worker, load: Load, queued: int, *, waits: bool
):
    private = kit.private_key("p256")
    key = load(private)
    engine.set_break_even("p256", 4)
    operations = [worker.sign(key, 0x0403, b"%d" % i) for i in range(queued)]
    other = worker.sign(load(kit.private_key("p384")), 0x0503, b"other")
    worker.expect(0)
    with kit.counted() as gained:
        last = worker.sign(key, 0x0403, b"last")
        assert isinstance(last, bytes) is not waits
        # What is not worth waiting ends the wait of its algorithm, and of no other.
        assert worker.queued == (queued + 2 if waits else 1)
        worker.complete(other)
        if waits:
            last = worker.complete(last)
    assert gained == {
        "submitted": 1,
        **kit.plan("p256", queued + 1, 4),
        **kit.plan("p384", 1),
    }
    kit.check("p256", private, 0x0403, b"last", last)
    for i, operation in enumerate(operations):
        kit.check("p256", private, 0x0403, b"%d" % i, worker.complete(operation))


@pytest.mark.parametrize("algorithm", CHEAP)
def test_break_even_is_measured_with_the_first_key(engine: Engine, algorithm: str):
    engine.set_break_even(algorithm, 0)
    with kit.counted() as gained:
        Key.load(engine, kit.private_key(algorithm)).close()
    assert 1 <= engine.break_even(algorithm) <= 9
    assert gained == {}  # the trial is no work of the proxy's
    engine.set_break_even(algorithm, 7)
    Key.load(engine, kit.private_key(algorithm)).close()
    assert engine.break_even(algorithm) == 7


def test_policy_off_is_immediate(engine: Engine, worker: Worker):
    engine.set_break_even("rsa2048", 0)
    for algorithm in kit.ALGORITHMS:
        private, scheme = kit.private_key(algorithm), kit.USUAL_SCHEME[algorithm]
        key = Key.load(engine, private, off=True)
        with kit.counted() as gained:
            signature = worker.sign(key, scheme, b"m")
            assert (worker.queued, worker.pending) == (0, 0)
        assert isinstance(signature, bytes)
        kit.check(algorithm, private, scheme, b"m", signature)
        assert gained == {"submitted": 1, f"{algorithm}.single": 1}
        key.close()
    assert engine.break_even("rsa2048") == 0  # nothing to measure for


def test_policy_off_beside_a_queue(worker: Worker, load: Load):
    private = kit.private_key("p256")
    waiting = worker.sign(load(private), 0x0403, b"waits")
    signature = worker.sign(load(private, off=True), 0x0403, b"does not")
    assert isinstance(signature, bytes)
    assert worker.queued == 1
    kit.check("p256", private, 0x0403, b"waits", worker.complete(waiting))


def test_workers_have_their_own_queues(engine: Engine, load: Load):
    private = kit.private_key("p256")
    key = load(private)
    one, two = Worker(engine), Worker(engine)
    in_one = [one.sign(key, 0x0403, b"1") for _ in range(3)]
    in_two = [two.sign(key, 0x0403, b"2") for _ in range(2)]
    with kit.counted() as gained:
        one.flush()
    assert gained == {"p256.fill3": 1, "p256.batched": 3}
    assert (one.queued, two.queued) == (0, 2)
    for worker, operations, message in ((one, in_one, b"1"), (two, in_two, b"2")):
        for operation in operations:
            kit.check("p256", private, 0x0403, message, worker.complete(operation))
        worker.close()


def test_workers_of_several_threads_share_a_key(engine: Engine, load: Load):
    import threading

    privates = {name: kit.private_key(name) for name in CHEAP}
    keys = {name: load(private) for name, private in privates.items()}
    failures: list[BaseException] = []

    def work(number: int) -> None:
        worker = Worker(engine)
        try:
            for turn in range(6):
                algorithm = CHEAP[(turn + number) % len(CHEAP)]
                pair = (keys[algorithm], privates[algorithm])
                sign_all(worker, [pair], algorithm, 3 + number)
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)
        finally:
            worker.close()

    with kit.counted() as gained:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    expected: Counter[str] = Counter()
    for number in range(4):
        for turn in range(6):
            expected.update(kit.plan(CHEAP[(turn + number) % len(CHEAP)], 3 + number))
            expected["submitted"] += 3 + number
    assert gained == dict(expected)


def test_the_engine_is_one(engine: Engine):
    assert Engine(portable=kit.lanes_kind() == kit.PORTABLE).handle == engine.handle
    with pytest.raises(EngineError, match="libcrypto_mb is already loaded from another path"):
        Engine(portable=kit.lanes_kind() != kit.PORTABLE)


def test_versions_and_abilities(engine: Engine):
    lanes, openssl = engine.versions()
    portable = kit.lanes_kind() == kit.PORTABLE
    assert ("portable" in lanes) == portable
    assert openssl.startswith("OpenSSL 3")
    assert all(engine.can_batch(name) for name in kit.ALGORITHMS)
