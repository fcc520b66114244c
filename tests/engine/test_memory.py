"""Locked memory: the heap's blocks, and the pages of keys and workers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import engine_kit as kit
import pytest

from envoy_ext.engine import Engine, Key, Worker

Load = Callable[..., Key]
PAGE = 4096
SIZES = [1, 16, 31, 32, 33, 64, 100, 128, 500, 512, 1024, 2048, 4096, 4097, 8192, 16384]
LARGE = [16385, 32768, 65535, 65536]


class Heap:
    """The calling thread's locked heap."""

    def __init__(self) -> None:
        self.ffi, self.lib = kit.native()

    def take(self, size: int) -> Any:  # noqa: ANN401 - cffi's objects have no types
        return self.lib.mbk_testing_heap_take(size)

    def give(self, block: Any) -> None:  # noqa: ANN401
        self.lib.mbk_testing_heap_give(block)

    def resize(self, block: Any, size: int) -> Any:  # noqa: ANN401
        return self.lib.mbk_testing_heap_resize(block, size)

    def owns(self, block: Any) -> bool:  # noqa: ANN401
        return bool(self.lib.mbk_heap_owns(block))

    def bytes(self, block: Any, size: int) -> memoryview:  # noqa: ANN401
        return memoryview(self.ffi.buffer(block, size))

    def address(self, block: Any) -> int:  # noqa: ANN401
        return int(self.ffi.cast("uintptr_t", block))

    def refusals(self) -> int:
        return int(self.lib.mbk_heap_refusals())


@pytest.fixture
def heap(engine: Engine) -> Heap:
    assert engine.handle
    return Heap()


@pytest.mark.parametrize("size", SIZES + LARGE)
def test_blocks_are_owned_aligned_and_apart(heap: Heap, size: int):
    blocks = [heap.take(size) for _ in range(5)]
    for number, block in enumerate(blocks):
        assert heap.owns(block)
        assert heap.address(block) % 16 == 0
        heap.bytes(block, size)[:] = bytes([number + 1]) * size
    for number, block in enumerate(blocks):
        assert heap.bytes(block, size) == bytes([number + 1]) * size
        heap.give(block)


@pytest.mark.parametrize("size", SIZES + LARGE)
def test_blocks_are_wiped_when_given_back(heap: Heap, size: int):
    block = heap.take(size)
    heap.bytes(block, size)[:] = b"\xa5" * size
    heap.give(block)
    again = heap.take(size)
    assert again == block  # the one given back last
    # The first bytes linked the free blocks.
    assert not any(heap.bytes(again, size)[8:])
    assert b"\xa5" * min(size, 4) not in bytes(heap.bytes(again, size)[:8])
    heap.give(again)


def test_more_than_the_largest_size_is_refused(heap: Heap):
    before = heap.refusals()
    for number, size in enumerate((65537, 1 << 20, 1 << 40)):
        assert heap.take(size) == heap.ffi.NULL
        assert heap.refusals() == before + number + 1


def test_nothing_is_no_block(heap: Heap):
    before = heap.refusals()
    assert heap.take(0) == heap.ffi.NULL
    heap.give(heap.ffi.NULL)
    assert heap.refusals() == before


def test_other_memory_is_not_owned(heap: Heap):
    block = heap.take(64)
    assert not heap.owns(heap.ffi.NULL)
    assert not heap.owns(heap.ffi.new("char[]", 64))
    assert not heap.owns(heap.ffi.cast("void *", sys.maxsize))
    heap.give(block)


@pytest.mark.parametrize(("small", "large"), [(32, 33), (100, 5000), (4096, 65536)])
def test_resized_blocks_keep_their_contents(heap: Heap, small: int, large: int):
    block = heap.take(small)
    heap.bytes(block, small)[:] = bytes(i % 251 for i in range(small))
    larger = heap.resize(block, large)
    assert larger != block
    assert heap.owns(larger)
    assert heap.bytes(larger, small) == bytes(i % 251 for i in range(small))
    # The old block was wiped.
    again = heap.take(small)
    assert again == block
    assert not any(heap.bytes(again, small)[8:])
    # A smaller size, and one within the block's class, stay in place.
    assert heap.resize(larger, small) == larger
    assert heap.resize(larger, large) == larger
    assert heap.resize(larger, 65537) == heap.ffi.NULL
    assert heap.bytes(larger, small) == bytes(i % 251 for i in range(small))
    assert heap.resize(larger, 0) == heap.ffi.NULL
    heap.give(again)
    assert heap.resize(heap.ffi.NULL, small) == block
    heap.give(block)


@pytest.mark.parametrize("size", [32, 1000, 65536])
def test_a_block_freed_by_another_thread_returns_to_its_owner(heap: Heap, size: int):
    block = heap.take(size)
    heap.bytes(block, size)[:] = b"\xa5" * size
    kit.in_thread(lambda: heap.give(block))
    locked, taken = kit.locked_bytes(), []
    while block not in taken:
        taken.append(heap.take(size))
        assert kit.locked_bytes() == locked  # it comes before any new memory
    assert not any(heap.bytes(block, size)[8:])
    for other in taken:
        heap.give(other)


def test_a_thread_does_not_use_what_belongs_to_another(heap: Heap):
    mine, theirs = heap.take(65536), []
    heap.give(mine)

    def other() -> None:
        theirs.append(heap.take(65536))
        assert theirs[0] != mine
        heap.give(theirs[0])

    kit.in_thread(other)
    assert heap.take(65536) == mine
    heap.give(mine)


def test_the_heap_of_a_finished_thread_is_taken_over(heap: Heap):
    seen: set[int] = set()

    def use() -> None:
        blocks = [heap.take(65536) for _ in range(3)]
        seen.update(heap.address(block) for block in blocks)
        for block in blocks:
            heap.give(block)

    kit.in_thread(use)
    locked = kit.locked_bytes()
    for _ in range(20):
        kit.in_thread(use)
    assert len(seen) == 3
    assert kit.locked_bytes() == locked


@pytest.mark.parametrize("size", [32, 4096, 65536])
def test_blocks_are_locked(heap: Heap, size: int):
    before = kit.locked_bytes()
    blocks: list[Any] = []
    span = max(size, 4 * PAGE)
    while len(blocks) < 2000 and kit.locked_bytes() < before + 2 * span:
        blocks.append(heap.take(size))
    assert kit.locked_bytes() == before + 2 * span
    for block in blocks:
        heap.give(block)
    assert kit.locked_bytes() == before + 2 * span  # kept for the next


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("algorithm", kit.ALGORITHMS)
def test_a_key_lies_in_locked_memory(engine: Engine, algorithm: str, *, off: bool):
    private = kit.private_key(algorithm)
    Key.load(engine, private, off=off).close()  # what the trial needs is there now
    before = kit.locked_bytes()
    keys = [Key.load(engine, private, off=off) for _ in range(3)]
    with_keys = kit.locked_bytes()
    assert with_keys >= before + 3 * PAGE
    for count, key in enumerate(keys, 1):
        key.close()
        assert kit.locked_bytes() == with_keys - count * PAGE


def test_a_refused_key_leaves_nothing(engine: Engine):
    from envoy_ext.engine import EngineError, rsa_numbers

    private = kit.rsa_key("rsa2048")
    Key.load(engine, private).close()
    numbers, before = rsa_numbers(private), kit.locked_bytes()
    for _ in range(10):
        with pytest.raises(EngineError, match=kit.NUMBERS_TEXT):
            Key.from_rsa_numbers(engine, numbers | {"iqmp": numbers["iqmp"] ^ 2})
        with pytest.raises(EngineError, match=kit.NUMBERS_TEXT):
            Key.from_scalar(engine, "p256", 0)
    assert kit.locked_bytes() == before


def test_a_worker_lies_in_locked_memory(engine: Engine):
    before = kit.locked_bytes()
    worker = Worker(engine)
    assert kit.locked_bytes() > before
    worker.close()
    assert kit.locked_bytes() == before
