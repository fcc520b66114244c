"""Finds where known keys lie behind an SSL_CTX and an SSL, in bytes from object to object.

All searches go from an object down: read a window of it, follow every word that could be a
pointer, compare. Windows are larger than the objects, so neighbours give chance hits; several
keys, contexts and connections are searched, and what not all of them show is dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from envoy_ext.layout.errors import ProbeError
from envoy_ext.layout.keys import LIMB_BYTES, RSA_NUMBERS, KnownKey
from envoy_ext.layout.memory import WORD, Memory

# Bytes of an object that are searched.
CTX_WINDOW = 0x400
CERT_WINDOW = 0x80
CREDENTIAL_WINDOW = 0x80
PKEY_WINDOW = 0x20
KEY_WINDOW = 0x100
SSL_WINDOW = 0x200
CONFIG_WINDOW = 0x100
POINT_WINDOW = 0x120
MONTGOMERY_WINDOW = 0x60
BIGNUM_WINDOW = 0x18
SCALAR_WINDOW = 0x30
BIO_WINDOW = 0x80
IO_WINDOW = 0x40
STACK_WINDOW = 0x20
BUFFER_WINDOW = 0x30

INT = 4

KeyPath = tuple[int, int, int, int]
ChainPath = tuple[int, int, int, int]
SocketPath = tuple[int, int, int]
Fields = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class FoundContext:
    """The unique private key behind an SSL_CTX; ``pkey`` is the EVP_PKEY, ``key`` what it holds."""

    ssl_ctx: int
    certificate: int
    credential: int
    pkey: int
    key: int


@dataclass(frozen=True)
class Bignum:
    """A BIGNUM that holds `number`.

    ``limbs`` is what lies at its limb pointer, longer than the number; ``ints`` the BIGNUM itself
    from that pointer on.
    """

    number: bytes
    limbs: bytes
    ints: bytes

    def int_at(self, offset: int) -> int:
        """Return the 32-bit integer `offset` bytes behind the start of the limb pointer."""
        return int.from_bytes(self.ints[offset : offset + INT], "little", signed=True)

    def is_width(self, width: int) -> bool:
        """Whether that many limbs hold the number, leading zero limbs included."""
        size = width * LIMB_BYTES
        return len(self.number) <= size <= len(self.limbs) and self.limbs[
            :size
        ] == self.number.ljust(size, b"\0")


class Searcher:
    """Looks for the numbers of `keys` in `memory`."""

    def __init__(self, memory: Memory, keys: Sequence[KnownKey]) -> None:
        self._memory = memory
        self._objects: dict[tuple[int, str], Fields] = {}
        self._numbers = {key.name: dict(key.numbers) for key in keys}

    def key_paths(self, ssl_ctx: int, key: KnownKey) -> dict[KeyPath, Fields]:
        """Return every path SSL_CTX, CERT, credential, EVP_PKEY, key that ends at `key`.

        The value tells which fields are there: of a public key, or of all.
        """
        paths: dict[KeyPath, Fields] = {}
        pointers = self._memory.pointers
        for one, certificate in pointers(ssl_ctx, CTX_WINDOW):
            for two, credential in pointers(certificate, CERT_WINDOW):
                for three, pkey in pointers(credential, CREDENTIAL_WINDOW):
                    for four, address in pointers(pkey, PKEY_WINDOW):
                        if fields := self.fields_at(address, key):
                            paths[one, two, three, four] = fields
        return paths

    def fields_at(self, address: int, key: KnownKey) -> Fields:
        """Return (field, offset) of what an RSA or EC_KEY at `address` would hold of `key`."""
        memo = (address, key.name)
        if memo not in self._objects:
            found = self._ec_fields(address, key) if key.point else self._rsa_fields(address, key)
            self._objects[memo] = frozenset(found)
        return self._objects[memo]

    def ssl_paths(
        self, ssl: int, context: FoundContext, offsets: Mapping[str, int]
    ) -> set[tuple[int, int]]:
        """Return the paths SSL, SSL_CONFIG, CERT that end at the connection's own credential.

        It has the context's private key, but is not the context's (a copy is made for each
        connection), nor is the way through SSL_CTX meant.
        """
        paths: set[tuple[int, int]] = set()
        for one, config in self._memory.pointers(ssl, SSL_WINDOW):
            if config == context.ssl_ctx:
                continue
            for two, certificate in self._memory.pointers(config, CONFIG_WINDOW):
                credential = self._memory.word(certificate + offsets["cert_cred"])
                if (
                    credential not in {0, context.credential}
                    and self._memory.word(credential + offsets["cred_privkey"]) == context.pkey
                ):
                    paths.add((one, two))
        return paths

    def chain_paths(self, credential: int, certificate: bytes) -> set[ChainPath]:
        """Return (cred_chain, stack_data, buffer_data, buffer_length) that lead to a leaf's DER."""
        paths: set[ChainPath] = set()
        pointers = self._memory.pointers
        for chain, stack in pointers(credential, CREDENTIAL_WINDOW):
            for array_at, array in pointers(stack, STACK_WINDOW):
                leaf = self._memory.words(self._memory.word(array), BUFFER_WINDOW)
                for data_at, data in enumerate(leaf):
                    if self._is_number(data, certificate):
                        paths |= {
                            (chain, array_at, data_at * WORD, length_at * WORD)
                            for length_at, word in enumerate(leaf)
                            if word == len(certificate)
                        }
        return paths

    def socket_paths(self, ssl: int, sockets: frozenset[int]) -> set[SocketPath]:
        """Return the paths SSL, BIO, Envoy's IoHandle that end at one of these descriptors.

        An SSL has the same BIO for reading and writing: only the first of the two is returned.
        """
        paths: dict[tuple[int, int, int], int] = {}
        for one, bio in self._memory.pointers(ssl, SSL_WINDOW):
            for two, handle in self._memory.pointers(bio, BIO_WINDOW):
                data = self._memory.read(handle, IO_WINDOW)
                for three in range(0, len(data), INT):
                    if int.from_bytes(data[three : three + INT], "little") in sockets:
                        paths.setdefault((bio, two, three), one)
        return {(one, two, three) for (_, two, three), one in paths.items()}

    def bignums_behind(self, rsa: int, key: KnownKey) -> Iterator[Bignum]:
        """Give the BIGNUMs of `key` one and two pointers behind an RSA.

        Besides the key's own these are those of its Montgomery contexts, which exist after a
        signature.
        """
        for _, behind in self._memory.pointers(rsa, KEY_WINDOW):
            for offset, target in self._memory.pointers(behind, MONTGOMERY_WINDOW):
                for number in key.numbers.values():
                    # A word that happens to be e says nothing about what points to it.
                    if len(number) > LIMB_BYTES and self._is_number(target, number):
                        yield Bignum(
                            number=number,
                            limbs=self._memory.read(target, len(number) + 2 * LIMB_BYTES),
                            ints=self._memory.read(behind + offset, BIGNUM_WINDOW),
                        )

    def null_words(self, address: int, size: int) -> set[int]:
        """Return the offsets of the words that are 0."""
        words = self._memory.words(address, size)
        return {index * WORD for index, word in enumerate(words) if word == 0}

    def context(self, ssl_ctx: int, offsets: Mapping[str, int]) -> FoundContext:
        """Follow found offsets."""
        word = self._memory.word
        certificate = word(ssl_ctx + offsets["ctx_cert"])
        credential = word(certificate + offsets["cert_cred"])
        pkey = word(credential + offsets["cred_privkey"])
        return FoundContext(
            ssl_ctx, certificate, credential, pkey, word(pkey + offsets["pkey_key"])
        )

    def _is_number(self, address: int, number: bytes) -> bool:
        return self._memory.read(address, len(number)) == number

    def _bignums(self, address: int, window: int, number: bytes) -> Iterator[int]:
        """Give the offsets from `address` of pointers to the limbs of `number`."""
        for offset, target in self._memory.pointers(address, window):
            if self._is_number(target, number):
                yield offset

    def _rsa_fields(self, address: int, key: KnownKey) -> Iterator[tuple[str, int]]:
        for offset, bignum in self._memory.pointers(address, KEY_WINDOW):
            for name in RSA_NUMBERS:
                for limbs in self._bignums(bignum, BIGNUM_WINDOW, key.numbers[name]):
                    yield f"rsa_{name}", offset
                    yield "bn_limbs", limbs

    def _ec_fields(self, address: int, key: KnownKey) -> Iterator[tuple[str, int]]:
        for offset, target in self._memory.pointers(address, KEY_WINDOW):
            window = self._memory.read(target, POINT_WINDOW)
            places = {name: _aligned(window, value) for name, value in key.point.items()}
            if all(places.values()):
                yield "ec_point", offset
                for name, found in places.items():
                    yield from ((f"point_{name}", place) for place in found)
            for place in self._bignums(target, SCALAR_WINDOW, key.numbers["scalar"]):
                yield "ec_scalar", offset
                # The scalar's own BIGNUM; its limb pointer is where bn_limbs says.
                yield "scalar_limbs", place


def _aligned(window: bytes, value: bytes) -> list[int]:
    return [at for at in range(0, len(window), LIMB_BYTES) if window.startswith(value, at)]


def unique(field: str, candidates: Iterable[int]) -> int:
    """Return the only candidate.

    Raises:
        ProbeError: there is none, or more than one.
    """
    found = sorted(set(candidates))
    if len(found) == 1:
        return found[0]
    what = "not found" if not found else "ambiguous: " + ", ".join(f"0x{one:x}" for one in found)
    raise ProbeError(f"{field}: {what}; this BoringSSL keeps its keys differently than known ones")


def agreed(found: Sequence[Fields]) -> dict[str, int]:
    """Return the offset of each field that all of `found` agree on."""
    by_field: dict[str, set[int]] = defaultdict(set)
    for field, offset in frozenset.intersection(*found):
        by_field[field].add(offset)
    return {field: unique(field, offsets) for field, offsets in by_field.items()}


def width_and_alloc(bignums: Sequence[Bignum]) -> tuple[int, int]:
    """Return where the width and the number of allocated limbs are, from the limb pointer on.

    No BIGNUM is wider than what is allocated for it, and at least one is narrower.

    Raises:
        ProbeError: no two integers, or more than two, behave like that.
    """
    offsets = range(WORD, BIGNUM_WINDOW, INT)
    widths = [at for at in offsets if all(one.is_width(one.int_at(at)) for one in bignums)]
    pairs = [
        (width, alloc)
        for width in widths
        for alloc in offsets
        if all(one.int_at(width) <= one.int_at(alloc) for one in bignums)
        and any(one.int_at(width) < one.int_at(alloc) for one in bignums)
    ]
    return (
        unique("bn_width", [width for width, _ in pairs]),
        unique("bn_alloc", [alloc for _, alloc in pairs]),
    )
