"""The structures that Python reads, and the file that holds the counters."""

from __future__ import annotations

import dataclasses
import stat
import time
from collections.abc import Callable
from pathlib import Path

import engine_kit as kit
import pytest

from envoy_ext import stats
from envoy_ext.engine import Engine, EngineError, Key, Worker

Load = Callable[..., Key]


def c_size(name: str) -> int:
    return int(kit.native()[1].mbk_testing_sizeof(name.encode()))


def test_sizes_of_the_published_structures():
    assert c_size("mbk_stats") == stats.BLOCK.size
    assert c_size("mbk_stats_block") == stats.BLOCK_STRIDE
    assert c_size("mbk_stats_header") == stats.HEADER.size


@pytest.mark.parametrize(
    "name", ["mbk_stats", "mbk_stats_header", "mbk_rsa_numbers", "mbk_engine_options"]
)
def test_sizes_of_the_binding(name: str):
    assert c_size(name) == kit.native()[0].sizeof(name)


def test_an_unknown_structure_has_no_size():
    assert c_size("mbk_unheard_of") == 0


def test_statuses_have_texts():
    ffi, lib = kit.native()
    texts = [ffi.string(lib.mbk_status_text(status)).decode() for status in range(16)]
    assert texts[0] == "ok"
    assert len(set(texts)) == 16
    assert "unknown status" not in texts
    assert ffi.string(lib.mbk_status_text(16)) == b"unknown status"


def test_published_counters(engine: Engine, worker: Worker, load: Load, tmp_path: Path):
    key = load(kit.private_key("p256"))
    with pytest.raises(EngineError, match=kit.INPUT_TEXT):
        engine.publish_stats(tmp_path / "no such folder" / "stats")
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(EngineError, match=kit.INPUT_TEXT):
        engine.publish_stats(link)
    assert target.read_bytes() == b"precious"

    # What was counted before is not lost.
    for operation in [worker.sign(key, 0x0403, b"m") for _ in range(3)]:
        worker.complete(operation)
    worker.drop(worker.sign(key, 0x0403, b"m"))
    before, path = engine.stats(), tmp_path / "stats"
    path.write_bytes(b"of another run" * 10000)
    path.chmod(0o640)
    engine.publish_stats(path)
    assert engine.stats() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # as it was
    first = stats.read(path)
    assert_same(engine, first)
    assert first.workers >= 1

    # From now on the file tells what the engine does, of old workers and of new ones.
    other = Worker(engine)
    engine.count_key(hooked=True)
    engine.count_key(hooked=False)
    engine.count_key(hooked=False)
    for each, count in ((worker, 5), (other, 2)):
        for operation in [each.sign(key, 0x0403, b"m") for _ in range(count)]:
            each.complete(operation)
    other.close()
    engine.set_break_even("rsa4096", 6)
    second = stats.read(path)
    assert_same(engine, second)
    gained = second - first
    assert (gained.submitted, gained.signed("p256"), gained.total("dropped")) == (7, 7, 0)
    assert gained.fill["p256"] == [0, 1, 0, 0, 1, 0, 0, 0]
    assert (gained.keys_hooked, gained.keys_left) == (1, 2)

    engine.publish_stats(path)  # the same once more
    with pytest.raises(EngineError, match=kit.INPUT_TEXT):
        engine.publish_stats(tmp_path / "another")
    assert not (tmp_path / "another").exists()
    path.unlink()  # the counters live on without it
    with kit.counted() as gained_later:
        worker.complete(worker.sign(key, 0x0403, b"m"))
    assert gained_later == {"submitted": 1, "p256.fill1": 1, "p256.batched": 1}


def assert_same(engine: Engine, read: stats.ModuleStats) -> None:
    told = dataclasses.asdict(read)
    assert {name: told[name] for name in engine.stats()} == engine.stats()
    assert read.break_even == {name: engine.break_even(name) for name in kit.ALGORITHMS}


def queue_gauges() -> tuple[int, int]:
    """Operations queued in all workers, and in how many of them the queue began to fill."""
    ffi, lib = kit.native()
    counters, gauges = ffi.new("mbk_stats *"), ffi.new("mbk_gauges *")
    queued = filling = 0
    for worker in range(lib.mbk_engine_stats_header().workers):
        lib.mbk_engine_worker_stats(worker, counters, gauges)
        queued += gauges.queued
        filling += gauges.queued_since != 0
        assert (gauges.queued == 0) == (gauges.queued_since == 0)
    return queued, filling


def test_queue_gauges(worker: Worker, load: Load):
    key = load(kit.private_key("p256"))
    assert queue_gauges() == (0, 0)
    operations = [worker.sign(key, 0x0403, b"m") for _ in range(3)]
    assert queue_gauges() == (3, 1)
    worker.drop(operations.pop())
    assert queue_gauges() == (2, 1)
    worker.complete(operations.pop())
    assert queue_gauges() == (0, 0)
    worker.complete(operations.pop())
    last = worker.sign(key, 0x0403, b"m")
    assert queue_gauges() == (1, 1)
    worker.drop(last)
    assert queue_gauges() == (0, 0)


def test_durations_have_their_buckets(worker: Worker, load: Load):
    key = load(kit.private_key("p256"))
    before = kit.the_engine().stats()
    operations = [worker.sign(key, 0x0403, b"m") for _ in range(2)]
    time.sleep(0.02)  # between 2^14 and 2^18 µs, unless the machine stands still
    for operation in operations:
        worker.complete(operation)
    after = kit.the_engine().stats()
    gained = [now - then for now, then in zip(after["wait"], before["wait"], strict=True)]
    assert sum(gained) == 2
    assert sum(gained[15:]) == 2
