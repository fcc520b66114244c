"""The prober's search in a memory of our own making: this process's."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

import pytest

from envoy_ext.layout.errors import ProbeError
from envoy_ext.layout.keys import RSA_NUMBERS, KnownKey, known_keys
from envoy_ext.layout.memory import Memory
from envoy_ext.layout.search import FoundContext, Searcher, agreed, unique

PATH = (0x40, 0x10, 0x20, 0x8)  # CERT in SSL_CTX, credential, EVP_PKEY, RSA
FIRST_NUMBER = 0x18  # in RSA; the others follow
LIMBS = 0x8  # in BIGNUM
SIZE = 0x400


class Heap:
    """Objects at fixed addresses; they live as long as this.

    Make all of them before the first search: what was read once is remembered.
    """

    def __init__(self) -> None:
        self._objects: dict[int, ctypes.Array[ctypes.c_char]] = {}

    def put(self, data: bytes, size: int = 0) -> int:
        """Make an object that holds `data` and is `size` bytes long; its address."""
        length = max(len(data), size)
        room = ctypes.create_string_buffer(length + 16)
        address = -(-ctypes.addressof(room) // 16) * 16
        ctypes.memmove(address, data, len(data))
        self._objects[address] = room
        return address

    def point(self, address: int, offset: int, target: int) -> None:
        """Write a pointer into an object."""
        ctypes.memmove(address + offset, struct.pack("<Q", target), 8)

    def chain(self, offsets: tuple[int, ...], end: int) -> list[int]:
        """Make objects that point to each other and at last to `end`; their addresses."""
        made = [self.put(b"", SIZE) for _ in offsets]
        for address, offset, target in zip(made, offsets, [*made[1:], end], strict=True):
            self.point(address, offset, target)
        return made


@pytest.fixture
def heap() -> Heap:
    return Heap()


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(os.getpid()) as opened:
        yield opened


@pytest.fixture(scope="module")
def keys() -> list[KnownKey]:
    return [key for key in known_keys() if not key.point]


def put_rsa(heap: Heap, key: KnownKey, numbers: tuple[str, ...] = RSA_NUMBERS) -> int:
    rsa = heap.put(b"", SIZE)
    for index, name in enumerate(numbers):
        bignum = heap.put(b"", 0x18)
        heap.point(bignum, LIMBS, heap.put(key.numbers[name], 0x200))
        heap.point(rsa, FIRST_NUMBER + 8 * index, bignum)
    return rsa


def test_memory_that_is_not_mapped_is_an_answer(heap: Heap, memory: Memory) -> None:
    at = heap.put(struct.pack("<3Q", 8, 1, 0xFFFF_FFFF_FFFF_FFF8))
    assert memory.words(at, 24) == (8, 1, 0xFFFF_FFFF_FFFF_FFF8)
    assert memory.pointers(at, 24) == []  # NULL's page, odd, beyond the end
    for nowhere in (0, 8, 1 << 47, (1 << 64) - 8):
        assert memory.read(nowhere, 8) == b""
        assert memory.word(nowhere) == 0


def test_read_ends_where_the_mapping_ends(memory: Memory) -> None:
    with open("/proc/self/maps", encoding="ascii") as maps:  # noqa: PTH123 - lines
        spans = [[int(one, 16) for one in line.split()[0].split("-")] for line in maps]
    starts = {start for start, _ in spans}
    # The last page before a hole, of a mapping that can be read.
    end = next(end for _, end in spans if end not in starts and memory.read(end - 8, 8))
    assert len(memory.read(end - 8, 64)) == 8


def test_memory_of_a_process_that_is_gone() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ProbeError, match=f"cannot read the memory of process {child} .*same user"):
        Memory(child)


def test_key_is_found_at_the_end_of_its_path(
    heap: Heap, memory: Memory, keys: list[KnownKey]
) -> None:
    contexts = [heap.chain(PATH, put_rsa(heap, key))[0] for key in keys]
    searcher = Searcher(memory, keys)
    found = []
    for key, ssl_ctx in zip(keys, contexts, strict=True):
        paths = searcher.key_paths(ssl_ctx, key)
        assert set(paths) == {PATH}
        found.append(paths[PATH])
    # All keys have the public exponent in common, and no more.
    (common,) = searcher.key_paths(contexts[0], keys[1]).values()
    assert {name for name, _ in common} == {"rsa_e", "bn_limbs"}
    offsets = agreed(found)
    assert offsets.pop("bn_limbs") == LIMBS
    assert offsets == {
        f"rsa_{name}": FIRST_NUMBER + 8 * index for index, name in enumerate(RSA_NUMBERS)
    }


def test_public_key_lacks_the_private_numbers(
    heap: Heap, memory: Memory, keys: list[KnownKey]
) -> None:
    rsa = put_rsa(heap, keys[0], ("n", "e"))
    fields = Searcher(memory, keys).fields_at(rsa, keys[0])
    assert {name for name, _ in fields} == {"rsa_n", "rsa_e", "bn_limbs"}


def test_number_that_is_there_twice_is_ambiguous(
    heap: Heap, memory: Memory, keys: list[KnownKey]
) -> None:
    """In one key it may be chance; when all keys show it, nobody can tell which is meant."""
    once_at = [put_rsa(heap, key) for key in keys]
    twice_at = [put_rsa(heap, key, (*RSA_NUMBERS, "p")) for key in keys]
    searcher = Searcher(memory, keys)
    once = [searcher.fields_at(at, key) for at, key in zip(once_at, keys, strict=True)]
    both = [searcher.fields_at(at, key) for at, key in zip(twice_at, keys, strict=True)]
    assert agreed([once[0], both[1]])["rsa_p"] == FIRST_NUMBER + 8 * RSA_NUMBERS.index("p")
    with pytest.raises(ProbeError, match=r"rsa_p: ambiguous: 0x30, 0x58; this BoringSSL"):
        agreed(both)


def test_two_ways_to_a_key_are_ambiguous(heap: Heap, memory: Memory, keys: list[KnownKey]) -> None:
    rsa = put_rsa(heap, keys[0])
    ssl_ctx, certificate, *_ = heap.chain(PATH, rsa)
    heap.point(ssl_ctx, 0x80, certificate)
    paths = Searcher(memory, keys).key_paths(ssl_ctx, keys[0])
    assert set(paths) == {PATH, (0x80, *PATH[1:])}
    with pytest.raises(ProbeError, match=r"ctx_cert: ambiguous: 0x40, 0x80;"):
        unique("ctx_cert", [path[0] for path in paths])


def test_connection_leads_to_a_credential_of_its_own(
    heap: Heap, memory: Memory, keys: list[KnownKey]
) -> None:
    ssl_ctx, certificate, credential, pkey = heap.chain(PATH, put_rsa(heap, keys[0]))
    context = FoundContext(ssl_ctx, certificate, credential, pkey, 0)
    offsets = {"cert_cred": PATH[1], "cred_privkey": PATH[2]}
    ssl, *_ = heap.chain((0x8, 0x38, PATH[1], PATH[2]), pkey)
    heap.point(ssl, 0x70, ssl_ctx)  # that way is not meant
    shared, *_ = heap.chain((0x8, 0x38), certificate)
    foreign, *_ = heap.chain((0x8, 0x38, PATH[1], PATH[2]), heap.put(b"", SIZE))
    searcher = Searcher(memory, keys)
    assert searcher.ssl_paths(ssl, context, offsets) == {(0x8, 0x38)}
    # One that uses the context's own credential tells nothing, nor does one with another key.
    assert searcher.ssl_paths(shared, context, offsets) == set()
    assert searcher.ssl_paths(foreign, context, offsets) == set()


def test_socket_is_found_behind_the_first_bio(
    heap: Heap, memory: Memory, keys: list[KnownKey]
) -> None:
    handle = heap.put(struct.pack("<QII", 0, 7, 33), 0x40)
    ssl, bio = heap.chain((0x18, 0x30), handle)
    heap.point(ssl, 0x20, bio)  # the same one, for writing
    searcher = Searcher(memory, keys)
    assert searcher.socket_paths(ssl, frozenset({33, 34})) == {(0x18, 0x30, 0xC)}
    assert searcher.socket_paths(ssl, frozenset({35})) == set()


def test_certificate_is_found_behind_its_buffer(
    heap: Heap, memory: Memory, keys: list[KnownKey]
) -> None:
    der = keys[0].certificate_der
    buffer = heap.put(struct.pack("<QQQ", 0, heap.put(der), len(der)), 0x40)
    credential, *_ = heap.chain((0x30, 0x8, 0x0), buffer)
    searcher = Searcher(memory, keys)
    assert searcher.chain_paths(credential, der) == {(0x30, 0x8, 0x8, 0x10)}
    assert searcher.chain_paths(credential, keys[1].certificate_der) == set()
