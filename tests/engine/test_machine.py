"""The queue against a model: any order of submitting, collecting, dropping and flushing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import engine_kit as kit
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from envoy_ext.engine import Key, Worker

NAMES = ("rsa2048", "p256", "p384")
LANE_FAULTS = {
    kit.FAULT_LANE_ERROR: "lane_errors",
    kit.FAULT_WRONG_RESULT: "verify_failures",
    kit.FAULT_CHECK_ERROR: "verify_failures",
}


@dataclass(eq=False)
class Operation:
    algorithm: str
    number: int  # of the key
    scheme: int  # 0: decrypt
    data: bytes
    handle: Any = None
    queued: bool = True

    def check(self, result: bytes) -> None:
        private = kit.private_key(self.algorithm, self.number)
        if self.scheme:
            kit.check(self.algorithm, private, self.scheme, self.data, result)
        else:
            n = kit.rsa_key(self.algorithm, self.number).public_key().public_numbers().n
            assert pow(int.from_bytes(result), 65537, n) == int.from_bytes(self.data)
            assert int.from_bytes(result) < n


class Queue(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        kit.reset_engine()
        engine = self.engine = kit.the_engine()
        self.keys = {
            (name, number): Key.load(engine, kit.private_key(name, number))
            for name in NAMES
            for number in range(2)
        }
        self.worker = Worker(engine)
        self.before = engine.stats()
        self.pending: list[Operation] = []
        self.break_even = dict.fromkeys(NAMES, 1)
        self.expected, self.fault, self.mask = 8, kit.FAULT_NONE, 0
        self.counters: dict[str, int] = {}

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by

    def queue_of(self, algorithm: str) -> list[Operation]:
        return [op for op in self.pending if op.queued and op.algorithm == algorithm]

    def compute(self, algorithm: str) -> None:
        """What a flush of one algorithm does."""
        queue = self.queue_of(algorithm)
        while queue:
            fill = min(len(queue), 8)
            if fill >= self.break_even[algorithm]:
                hit = 0
                if self.fault:
                    hit = (self.mask & ((1 << fill) - 1)).bit_count()
                    self.count(LANE_FAULTS[self.fault], hit)
                self.count("lane_retries", hit)
                self.count(f"{algorithm}.fill{fill}")
                self.count(f"{algorithm}.batched", fill - hit)
                self.count(f"{algorithm}.single", hit)
            else:
                fill = 1
                self.count(f"{algorithm}.single")
            for op in queue[:fill]:
                op.queued = False
            queue = queue[fill:]

    def submit(self, op: Operation) -> None:
        key = self.keys[op.algorithm, op.number]
        others = len(self.queue_of(op.algorithm)) + self.expected
        needed = self.break_even[op.algorithm]
        if op.scheme:
            result = self.worker.sign(key, op.scheme, op.data)
        else:
            result = self.worker.decrypt(key, op.data)
        self.count("submitted")
        self.pending.append(op)
        if others > 0 and others + 1 >= needed and needed <= 8:
            assert not isinstance(result, bytes)
            op.handle = result
        else:
            self.compute(op.algorithm)
            self.pending.remove(op)
            assert isinstance(result, bytes)
            op.check(result)

    @rule(data=st.data(), number=st.integers(0, 1), count=st.integers(1, 6))
    def sign(self, data: st.DataObject, number: int, count: int) -> None:
        algorithm = data.draw(st.sampled_from(NAMES))
        schemes = kit.ECDSA_SCHEMES if algorithm in kit.CURVES else kit.RSA_SCHEMES
        scheme = data.draw(st.sampled_from(schemes))
        message = data.draw(st.binary(max_size=40))
        for i in range(count):
            self.submit(Operation(algorithm, number, scheme, message + bytes([i])))

    @rule(number=st.integers(0, 1), seed=st.binary(min_size=200, max_size=255))
    def decrypt(self, number: int, seed: bytes) -> None:
        self.submit(Operation("rsa2048", number, 0, seed.rjust(256, b"\0")))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        op = self.pending[data.draw(st.integers(0, len(self.pending) - 1))]
        if op.queued:
            for name in NAMES:
                self.compute(name)
        self.pending.remove(op)
        op.check(self.worker.complete(op.handle))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        op = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        self.worker.drop(op.handle)
        self.count(f"{op.algorithm}.dropped")

    @rule()
    def flush(self) -> None:
        self.worker.flush()
        for name in NAMES:
            self.compute(name)

    @rule(algorithm=st.sampled_from(NAMES), lanes=st.integers(1, 9))
    def set_break_even(self, algorithm: str, lanes: int) -> None:
        self.engine.set_break_even(algorithm, lanes)
        self.break_even[algorithm] = lanes

    @rule(operations=st.integers(0, 9))
    def expect(self, operations: int) -> None:
        self.worker.expect(operations)
        self.expected = operations

    @rule(fault=st.sampled_from([kit.FAULT_NONE, *LANE_FAULTS]), mask=st.integers(0, 255))
    def set_fault(self, fault: int, mask: int) -> None:
        self.engine.fault(fault, mask)
        self.fault, self.mask = fault, mask

    @precondition(lambda self: self.fault == kit.FAULT_NONE)
    @rule(algorithm=st.sampled_from(NAMES), number=st.integers(0, 1))
    def renew_key(self, algorithm: str, number: int) -> None:
        self.keys[algorithm, number].close()
        private = kit.private_key(algorithm, number)
        self.keys[algorithm, number] = Key.load(self.engine, private)

    @invariant()
    def the_model_agrees(self) -> None:
        assert self.worker.pending == len(self.pending)
        assert self.worker.queued == sum(op.queued for op in self.pending)
        gained = kit.delta(self.before, self.engine.stats())
        assert gained == {name: count for name, count in self.counters.items() if count}

    def teardown(self) -> None:
        for op in self.pending:
            op.check(self.worker.complete(op.handle))
        self.worker.close()
        for key in self.keys.values():
            key.close()
        kit.reset_engine()


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
