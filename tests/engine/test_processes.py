"""What needs a process of its own: another engine, another allocator, no memory to lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import engine_kit as kit
import pytest

PRELUDE = """
import json, sys
if {own_allocator}:  # keep Python off the OpenSSL whose allocator the engine sets
    sys.modules["_hashlib"] = sys.modules["_ssl"] = None
sys.path[:0] = {path!r}
import engine_kit as kit
from envoy_ext.engine import Engine, EngineError, Key, Worker
PORTABLE = kit.lanes_kind() == kit.PORTABLE

def refusal(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except EngineError as error:
        return str(error)
    return None
"""


def run(program: str, *, own_allocator: bool = False, **values: object) -> Any:  # noqa: ANN401
    """Runs a program after the prelude; what it prints is JSON."""
    path = [str(kit.ROOT), str(Path(__file__).parent)]
    prelude = PRELUDE.format(own_allocator=own_allocator, path=path)
    given = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + given + textwrap.dedent(program)],
        env=os.environ | {kit.LANES_VARIABLE: kit.lanes_kind()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


STEADY = """
import ctypes
import gc

libc = ctypes.CDLL(None)

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    ).split()]

libc.mallinfo2.restype = Mallinfo2
engine = Engine(portable=PORTABLE, shared_libcrypto=False)
loaded = {
    name: Key.load(engine, kit.private_key(name)) for name in ("rsa2048", "p256", "p384")
}
for name in loaded:
    engine.set_break_even(name, 4)
worker = Worker(engine)
operations = [None] * 13
ciphertext = bytes(255) + b"\\2"

def turn():
    # Of each algorithm a full batch, a batch of five or of six, and singles.
    for name, key in loaded.items():
        for count in (13, 8, 6, 3):
            for i in range(count):
                if name == "rsa2048" and i % 3 == 2:
                    operations[i] = worker.decrypt(key, ciphertext)
                else:
                    scheme = 0x0403 if name != "rsa2048" else (0x0401, 0x0804)[i % 2]
                    operations[i] = worker.sign(key, scheme, b"message")
            if count == 6:
                worker.drop(operations[5])
                count = 5
            for i in range(count):
                worker.complete(operations[i])

for _ in range(3):
    turn()
gc.collect()
gc.disable()
before = engine.stats()
locked, growth = kit.locked_bytes(), []
lib = kit.native()[1]
refusals = lib.mbk_heap_refusals()
for _ in range(4):
    used = libc.mallinfo2().uordblks
    for _ in range(6):
        turn()
    growth.append(libc.mallinfo2().uordblks - used)
gained = kit.delta(before, engine.stats())
print(json.dumps({
    "submitted": gained["submitted"],
    "failed": sum(count for name, count in gained.items() if name.endswith("failed")),
    "locked": kit.locked_bytes() - locked,
    "all locked": kit.locked_bytes(),
    "growth": growth,
    "refusals": [refusals, lib.mbk_heap_refusals()],
}))
"""


def test_steady_work_takes_no_more_memory():
    told = run(STEADY, own_allocator=True)
    assert told["submitted"] == 3 * 30 * 24
    assert told["failed"] == 0
    assert told["locked"] == 0
    # Nothing kept with malloc either: in at least one round not even Python kept anything.
    assert min(told["growth"]) <= 0
    # OpenSSL's temporaries lie in the locked heap, which refused none.
    assert told["all locked"] > 64 * 1024
    assert told["refusals"] == [0, 0]


def test_an_openssl_in_use_is_refused():
    told = run(
        """
        import hashlib
        hashlib.new("sha256", b"Python's own OpenSSL", usedforsecurity=False)
        import _hashlib
        libraries = [line for line in open("/proc/self/maps") if "libcrypto.so.3" in line]
        reason = refusal(Engine, portable=PORTABLE, shared_libcrypto=False)
        print(json.dumps([bool(libraries), reason]))
        """
    )
    in_use, reason = told
    if not in_use:
        pytest.skip("this Python does not use libcrypto.so.3")
    text = "libcrypto.so.3 is already in use in this process, its memory cannot be locked"
    assert reason == text


def test_no_more_memory_can_be_locked():
    told = run(
        """
        import os, resource
        engine = kit.the_engine()
        private = kit.private_key("p256")
        engine.set_break_even("p256", 1)
        key, worker = Key.load(engine, private), Worker(engine)
        first = worker.sign(key, 0x0403, b"takes the first operations")
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        if os.geteuid() == 0:
            os.setuid(65534)  # lets go of CAP_IPC_LOCK
        told = {
            "key": refusal(Key.load, engine, private),
            "key, off": refusal(Key.load, engine, private, off=True),
            "worker": refusal(Worker, engine),
        }
        before, pending = engine.stats(), [first]
        while not isinstance(result := worker.sign(key, 0x0403, b"m"), bytes):
            pending.append(result)
        kit.check("p256", private, 0x0403, b"m", result)
        told["pending"] = [worker.pending, worker.queued, len(pending)]
        told["gained"] = kit.delta(before, engine.stats())
        worker.drop(pending.pop())
        told["again"] = isinstance(worker.sign(key, 0x0403, b"m"), bytes)
        for operation in pending:
            worker.complete(operation)
        print(json.dumps(told))
        """
    )
    text = "memory cannot be locked (raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK)"
    assert (told["key"], told["key, off"], told["worker"]) == (text, text, text)
    pending = told["pending"][2]
    assert pending > 8
    assert told["pending"] == [pending] * 3
    assert told["gained"] == {"submitted": pending, "inline_ops": 1, "p256.single": 1}
    assert told["again"] is False  # a place became free


def test_without_crypto_mb():
    told = run(
        """
        from pathlib import Path
        engine = Engine(library=Path(nowhere))
        private = kit.private_key("rsa2048")
        key, worker = Key.load(engine, private, off=True), Worker(engine)
        signature = worker.sign(key, 0x0804, b"m")
        kit.check("rsa2048", private, 0x0804, b"m", signature)
        reasons = [engine.lanes_reason(), refusal(Key.load, engine, private)]
        reasons.append(refusal(Key.load, engine, kit.private_key("p256")))
        abilities = [engine.can_batch(name) for name in kit.ALGORITHMS]
        print(json.dumps([reasons, abilities, engine.versions()[0]]))
        """,
        nowhere=str(Path(__file__).with_name("no such library.so")),
    )
    reasons, abilities, version = told
    assert reasons == ["libcrypto_mb cannot be loaded"] * 3
    assert abilities == [False] * 5
    assert version == "crypto_mb not loaded"


def test_a_new_counter_file_is_private(tmp_path: Path):
    told = run(
        """
        import os, stat
        from pathlib import Path
        from envoy_ext import stats
        os.umask(0)
        path = Path(folder) / "stats"
        kit.the_engine().publish_stats(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        print(json.dumps([mode, stats.read(path).total(), path.stat().st_size]))
        """,
        folder=str(tmp_path),
    )
    assert told == [0o600, 0, 49 * 4096]


def test_everything_with_portable_lanes():
    if kit.lanes_kind() == kit.PORTABLE:
        pytest.skip("these lanes are portable")
    if os.environ.get(kit.LANES_VARIABLE):
        pytest.skip(f"{kit.LANES_VARIABLE} chooses the lanes")
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(folder), "-q", "-p", "no:cacheprovider"],
        cwd=kit.ROOT,
        env=os.environ | {kit.LANES_VARIABLE: kit.PORTABLE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
