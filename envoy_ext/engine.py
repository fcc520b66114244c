"""The batching engine from Python (cffi), for tests, benchmarks and host checks.

A process has one engine. :class:`Worker` objects belong to the thread that made them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from envoy_ext import artifacts
from envoy_ext.stats import ALGORITHMS, LANES, OUTCOMES, TIMES

DONE, PENDING, FAILED = 0, 1, 2
MAX_RESULT = 512

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class EngineError(Exception):
    """The engine refused; the text is its reason."""


@cache
def _library() -> tuple[FFI, Any]:
    """``MBK_ENGINE_LIBRARY`` names another build of the engine (sanitizers)."""
    path = Path(os.environ.get("MBK_ENGINE_LIBRARY") or artifacts.module_dir() / "libmbk_engine.so")
    ffi = FFI()
    ffi.cdef(path.with_name("engine.cdef").read_text())
    return ffi, ffi.dlopen(str(path))


def _text(status: int) -> str:
    ffi, lib = _library()
    return str(ffi.string(lib.mbk_status_text(status)).decode())


def _ensure(status: int) -> None:
    if status != 0:
        raise EngineError(_text(status))


class Engine:
    """The process's engine; later ones with the same arguments are the same engine."""

    def __init__(
        self,
        *,
        portable: bool = False,
        library: Path | None = None,
        shared_libcrypto: bool = True,  # Python itself uses OpenSSL
    ) -> None:
        ffi, lib = _library()
        path = library or artifacts.crypto_mb_path()
        keep = [
            ffi.new("char[]", str(path).encode()) if path else ffi.NULL,
            ffi.new("char[]", str(artifacts.module_dir()).encode()),
        ]
        options = ffi.new("mbk_engine_options *")
        options.library, options.module_dir = keep
        options.lanes = 1 if portable else 0
        options.shared_libcrypto = shared_libcrypto
        out = ffi.new("mbk_engine **")
        _ensure(lib.mbk_engine_get(options, out))
        self.handle = out[0]

    def lanes_reason(self) -> str | None:
        """None when batches can be computed, else why not."""
        _, lib = _library()
        status = lib.mbk_engine_lanes_status(self.handle)
        return None if status == 0 else _text(status)

    def versions(self) -> tuple[str, str]:
        """Of the lanes' library and of OpenSSL."""
        ffi, lib = _library()
        texts = (
            lib.mbk_engine_lanes_version(self.handle),
            lib.mbk_engine_openssl_version(self.handle),
        )
        return ffi.string(texts[0]).decode(), ffi.string(texts[1]).decode()

    def can_batch(self, algorithm: str) -> bool:
        """Whether the lanes serve the algorithm."""
        _, lib = _library()
        return bool(lib.mbk_engine_can_batch(self.handle, ALGORITHMS.index(algorithm)))

    def break_even(self, algorithm: str) -> int:
        """Lanes from which a batch pays; 0 when no key of the algorithm was loaded."""
        _, lib = _library()
        return int(lib.mbk_engine_break_even(self.handle, ALGORITHMS.index(algorithm)))

    def set_break_even(self, algorithm: str, lanes: int) -> None:
        """Overrides the measured value."""
        _, lib = _library()
        lib.mbk_engine_set_break_even(self.handle, ALGORITHMS.index(algorithm), lanes)

    def fault(self, kind: int, mask: int = 0xFF) -> None:
        """Injects a fault (``mbk_fault``) into the lanes of ``mask``; 0 ends it."""
        _, lib = _library()
        lib.mbk_fault_set(self.handle, kind, mask)

    def publish_stats(self, path: Path) -> None:
        """Keeps the counters in a file from now on (:mod:`envoy_ext.stats` reads it)."""
        _, lib = _library()
        _ensure(lib.mbk_engine_publish_stats(self.handle, str(path).encode()))

    def count_key(self, *, hooked: bool) -> None:
        """Counts a certificate that was hooked, or left to the proxy."""
        _library()[1].mbk_engine_count_key(self.handle, hooked)

    def stats(self) -> dict[str, Any]:
        """All counters, by the names of ``mbk_stats``."""
        ffi, lib = _library()
        out = ffi.new("mbk_stats *")
        lib.mbk_engine_stats(self.handle, out)
        counters: dict[str, Any] = {
            "ops": {
                name: {key: int(out.ops[i][j]) for j, key in enumerate(OUTCOMES)}
                for i, name in enumerate(ALGORITHMS)
            },
            "fill": {
                name: [int(out.fill[i][lane]) for lane in range(LANES)]
                for i, name in enumerate(ALGORITHMS)
            },
        }
        counters["wait"] = [int(out.wait[i]) for i in range(TIMES)]
        counters["compute"] = {
            name: [int(out.compute[i][j]) for j in range(TIMES)]
            for i, name in enumerate(ALGORITHMS)
        }
        for name in ("submitted", "verify_failures", "lane_errors", "lane_retries", "inline_ops"):
            counters[name] = int(getattr(out, name))
        return counters


def limbs(value: int) -> list[int]:
    """Little-endian 64-bit limbs of a number, at least one."""
    count = max(1, -(-value.bit_length() // 64))
    return [(value >> (64 * i)) & 0xFFFFFFFFFFFFFFFF for i in range(count)]


def rsa_numbers(key: rsa.RSAPrivateKey) -> dict[str, int]:
    """The numbers of a key by the names of ``mbk_rsa_numbers``."""
    private = key.private_numbers()
    public = private.public_numbers
    return {
        "n": public.n,
        "e": public.e,
        "d": private.d,
        "p": private.p,
        "q": private.q,
        "dmp1": private.dmp1,
        "dmq1": private.dmq1,
        "iqmp": private.iqmp,
    }


class Key:
    """A private key in the engine; ``close`` gives it back."""

    def __init__(self, engine: Engine, handle: Any) -> None:
        self.engine = engine
        self.handle = handle

    @classmethod
    def load(cls, engine: Engine, key: PrivateKey, *, off: bool = False) -> Key:
        """Loads a key of the ``cryptography`` package."""
        if isinstance(key, rsa.RSAPrivateKey):
            return cls.from_rsa_numbers(engine, rsa_numbers(key), off=off)
        algorithm = {"secp256r1": "p256", "secp384r1": "p384"}.get(key.curve.name, "rsa2048")
        return cls.from_scalar(engine, algorithm, key.private_numbers().private_value, off=off)

    @classmethod
    def from_rsa_numbers(cls, engine: Engine, numbers: dict[str, int], *, off: bool = False) -> Key:
        """Loads an RSA key from the numbers of :func:`rsa_numbers`."""
        ffi, lib = _library()
        arrays = {name: ffi.new("uint64_t[]", limbs(value)) for name, value in numbers.items()}
        struct = ffi.new("mbk_rsa_numbers *")
        for name, array in arrays.items():
            setattr(struct, name, {"limbs": array, "width": len(array)})
        out = ffi.new("mbk_key **")
        _ensure(lib.mbk_key_new_rsa(engine.handle, struct, int(off), out))
        return cls(engine, out[0])

    @classmethod
    def from_scalar(cls, engine: Engine, algorithm: str, d: int, *, off: bool = False) -> Key:
        """Loads an EC key from its private number."""
        ffi, lib = _library()
        array = ffi.new("uint64_t[]", limbs(d))
        number = ffi.new("mbk_number *", {"limbs": array, "width": len(array)})
        out = ffi.new("mbk_key **")
        status = lib.mbk_key_new_ec(
            engine.handle, ALGORITHMS.index(algorithm), number[0], int(off), out
        )
        _ensure(status)
        return cls(engine, out[0])

    def is_public_point(self, x: int, y: int, z: int) -> bool:
        """Whether Montgomery-form Jacobian coordinates are this key's public point."""
        ffi, lib = _library()
        arrays = [ffi.new("uint64_t[9]", limbs(value)) for value in (x, y, z)]
        return bool(lib.mbk_key_is_public_point(self.handle, *arrays))

    def is_in(self, certificate: bytes) -> bool:
        """Whether the bytes contain the key's public number."""
        _, lib = _library()
        return bool(lib.mbk_key_is_in(self.handle, certificate, len(certificate)))

    def close(self) -> None:
        """Gives back the reference to the key."""
        _, lib = _library()
        lib.mbk_key_release(self.handle)
        self.handle = None


class Worker:
    """A worker of the calling thread; ``close`` drops what is queued."""

    def __init__(self, engine: Engine) -> None:
        ffi, lib = _library()
        out = ffi.new("mbk_worker **")
        _ensure(lib.mbk_worker_new(engine.handle, out))
        self.handle = out[0]
        self._out = ffi.new("uint8_t[]", MAX_RESULT)
        self._length = ffi.new("size_t *")
        self._op = ffi.new("mbk_op **")
        self._why = ffi.new("mbk_status *")

    @property
    def queued(self) -> int:
        """Operations not yet computed."""
        return int(_library()[1].mbk_worker_queued(self.handle))

    @property
    def pending(self) -> int:
        """Operations neither collected nor dropped."""
        return int(_library()[1].mbk_worker_pending(self.handle))

    def expect(self, operations: int) -> None:
        """Tells how many more operations may come soon."""
        _library()[1].mbk_worker_expect(self.handle, operations)

    def _result(self, progress: int) -> bytes:
        ffi, _ = _library()
        if progress == FAILED:
            raise EngineError(_text(self._why[0]))
        return bytes(ffi.buffer(self._out, self._length[0]))

    def sign(self, key: Key, scheme: int, message: bytes, *, room: int = MAX_RESULT) -> Any:
        """Queues; returns an operation for :meth:`complete`, or ``bytes`` when done at once."""
        _, lib = _library()
        progress = lib.mbk_sign(
            self.handle,
            key.handle,
            scheme,
            message,
            len(message),
            self._out,
            self._length,
            room,
            self._op,
            self._why,
        )
        return self._op[0] if progress == PENDING else self._result(progress)

    def decrypt(self, key: Key, ciphertext: bytes, *, room: int = MAX_RESULT) -> Any:
        """The raw RSA private operation; returns as :meth:`sign`."""
        _, lib = _library()
        progress = lib.mbk_decrypt(
            self.handle,
            key.handle,
            ciphertext,
            len(ciphertext),
            self._out,
            self._length,
            room,
            self._op,
            self._why,
        )
        return self._op[0] if progress == PENDING else self._result(progress)

    def complete(self, op: Any, *, room: int = MAX_RESULT) -> bytes:
        """Collects an operation, computing all that is queued when it is not computed yet."""
        _, lib = _library()
        progress = lib.mbk_op_complete(self.handle, op, self._out, self._length, room, self._why)
        return self._result(progress)

    def drop(self, op: Any) -> None:
        """Gives up an operation."""
        _library()[1].mbk_op_drop(self.handle, op)

    def flush(self) -> None:
        """Computes everything that is queued."""
        _library()[1].mbk_worker_flush(self.handle)

    def close(self) -> None:
        """Ends the worker and drops what is queued."""
        _library()[1].mbk_worker_free(self.handle)
        self.handle = None
