"""Reads another process's memory; an address that is not mapped is an answer, not a crash."""

from __future__ import annotations

import os
import struct
from types import TracebackType
from typing import Self

from envoy_ext.layout.errors import ProbeError

WORD = 8
_USER_END = 1 << 47  # user addresses of x-86-64 end here


class Memory:
    """Memory of the process `pid`, which must be ours and quiet. Pages read are remembered.

    Raises:
        ProbeError: the kernel does not let us read it.
    """

    _PAGE = 4096

    def __init__(self, pid: int) -> None:
        self._pages: dict[int, bytes] = {}
        try:
            self._file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ProbeError(
                f"cannot read the memory of process {pid} ({error.strerror}): it must run as the "
                "same user, and kernel.yama.ptrace_scope must be below 2"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def read(self, address: int, size: int) -> bytes:
        """Return the `size` bytes at `address`; fewer when the rest is not mapped."""
        end = address + size
        parts: list[bytes] = []
        while address < end:
            page = self._page(address // self._PAGE * self._PAGE)
            start = address % self._PAGE
            part = page[start : start + end - address]
            if not part:
                break
            parts.append(part)
            address += len(part)
        return b"".join(parts)

    def words(self, address: int, size: int) -> tuple[int, ...]:
        """Return the 8-byte words in the `size` bytes at `address`, as far as mapped."""
        data = self.read(address, size)
        return struct.unpack(f"<{len(data) // WORD}Q", data[: len(data) // WORD * WORD])

    def word(self, address: int) -> int:
        """Return the word at `address`; 0 when it is not mapped."""
        return next(iter(self.words(address, WORD)), 0)

    def pointers(self, address: int, size: int) -> list[tuple[int, int]]:
        """Return (offset, value) of the words that point to something mapped and aligned."""
        return [
            (index * WORD, value)
            for index, value in enumerate(self.words(address, size))
            if value % WORD == 0 and self._page(value // self._PAGE * self._PAGE)
        ]

    def _page(self, address: int) -> bytes:
        if address not in self._pages:
            self._pages[address] = self._load(address)
        return self._pages[address]

    def _load(self, address: int) -> bytes:
        if not self._PAGE <= address < _USER_END:
            return b""
        try:
            return os.pread(self._file, self._PAGE, address)
        except OSError:
            return b""
