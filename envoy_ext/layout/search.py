"""The search: from the addresses that the probe module reports to numbers that we know.

Every offset is found by value, in all contexts and connections alike; one that is missing or not
unique is an error that names it. Offsets are in bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from envoy_ext.layout.errors import ProbeError
from envoy_ext.layout.memory import WORD, Memory

# How far into each structure to look. Generous: the newest known values are in the table.
CONTEXT, CERT, CREDENTIAL, PKEY, KEY, SSL, CONFIG = 0x400, 0x80, 0x80, 0x20, 0x100, 0x100, 0x100
RSA_FIELDS = ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")
PRIMES = {
    "secp256r1": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "secp384r1": 2**384 - 2**128 - 2**96 + 2**32 - 1,
}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class SearchError(ProbeError):
    """An offset was not found, or is not unique; the text names it."""


@dataclass(frozen=True)
class Sample:
    """One context of the running Envoy and what is known of it."""

    context: int
    key: PrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True)
class KeyPath:
    """Offsets from an SSL_CTX to a key structure, and the addresses on the way."""

    offsets: tuple[int, int, int, int]  # ctx_cert, cert_cred, cred_privkey, pkey_key
    credential: int
    pkey: int
    key: int


def _only(name: str, values: Iterable[int]) -> int:
    distinct = sorted(set(values))
    if len(distinct) != 1:
        found = ", ".join(hex(value) for value in distinct) or "none"
        raise SearchError(f"offset {name}: expected one candidate, found {found}")
    return distinct[0]


def limb_bytes(value: int) -> bytes:
    """A number as BoringSSL stores it: little-endian 64-bit limbs, without leading zero limbs."""
    count = max(1, -(-value.bit_length() // 64))
    return value.to_bytes(count * 8, "little")


def bignum_at(memory: Memory, address: int, value: int) -> int | None:
    """Offset of the limb pointer when a BIGNUM of that value is at ``address``."""
    wanted = limb_bytes(value)
    for offset in (0, 8, 16):
        limbs = memory.pointer(address + offset)
        if limbs and memory.read(limbs, len(wanted)) == wanted:
            return offset
    return None


def _known_numbers(key: PrivateKey) -> dict[str, int]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"d": key.private_numbers().private_value}
    numbers = key.private_numbers()
    return {
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        **{name: getattr(numbers, name) for name in RSA_FIELDS if name not in ("n", "e")},
    }


def _holds_private_key(memory: Memory, address: int, key: PrivateKey) -> bool:
    """Whether a key structure at ``address`` points to the private number d."""
    d = _known_numbers(key)["d"]
    return any(
        bignum_at(memory, pointer, d) is not None for _, pointer in memory.pointers(address, KEY)
    )


def key_paths(memory: Memory, sample: Sample) -> list[KeyPath]:
    """All ways of four pointers from the context to its private key."""
    seen: dict[int, bool] = {}
    paths = []
    for ctx_cert, cert in memory.pointers(sample.context, CONTEXT):
        for cert_cred, credential in memory.pointers(cert, CERT):
            for cred_key, pkey in memory.pointers(credential, CREDENTIAL):
                for pkey_key, key in memory.pointers(pkey, PKEY):
                    if key not in seen:
                        seen[key] = _holds_private_key(memory, key, sample.key)
                    if seen[key]:
                        offsets = (ctx_cert, cert_cred, cred_key, pkey_key)
                        paths.append(KeyPath(offsets, credential, pkey, key))
    return paths


def common_path(memory: Memory, samples: list[Sample]) -> list[KeyPath]:
    """The one path that leads to the private key in every context; per context."""
    per_sample = [{path.offsets: path for path in key_paths(memory, one)} for one in samples]
    shared = set.intersection(*(set(paths) for paths in per_sample))
    if len(shared) != 1:
        raise SearchError(
            f"path SSL_CTX -> CERT -> credential -> EVP_PKEY -> key: {len(shared)} candidates in "
            f"all {len(samples)} contexts: {sorted(shared)}"
        )
    offsets = shared.pop()
    return [paths[offsets] for paths in per_sample]


def rsa_offsets(memory: Memory, path: KeyPath, key: rsa.RSAPrivateKey) -> dict[str, int]:
    """Where RSA keeps its eight numbers, and BIGNUM its limbs and widths."""
    found: dict[str, int] = {}
    limbs: set[int] = set()
    widths: list[set[int]] = []
    for name, value in _known_numbers(key).items():
        hits = []
        for offset, bignum in memory.pointers(path.key, KEY):
            at = bignum_at(memory, bignum, value)
            if at is not None:
                hits.append(offset)
                limbs.add(at)
                widths.append(_width_candidates(memory, bignum, len(limb_bytes(value)) // 8))
        found[f"rsa_{name}"] = _only(f"rsa_{name}", hits)
    found["bn_limbs"] = _only("bn_limbs", limbs)
    shared = sorted(set.intersection(*widths))
    if len(shared) != 2:
        raise SearchError(f"offsets bn_width and bn_alloc: candidates {shared}")
    # Fresh numbers fill what is allocated, so both words are equal: the first is the width.
    found["bn_width"], found["bn_alloc"] = shared
    return found


def _width_candidates(memory: Memory, bignum: int, limbs: int) -> set[int]:
    data = memory.read(bignum, 0x18) or b""
    words = struct.unpack(f"<{len(data) // 4}i", data)
    return {4 * index for index, word in enumerate(words) if word == limbs}


def public_key_offsets(memory: Memory, path: KeyPath, sample: Sample, pkey_key: int) -> set[int]:
    """Offsets in the credential of EVP_PKEYs that hold the public key and no private one."""
    found = set()
    for offset, pkey in memory.pointers(path.credential, CREDENTIAL):
        key = memory.pointer(pkey + pkey_key)
        if not key or key == path.key or _holds_private_key(memory, key, sample.key):
            continue
        if isinstance(sample.key, rsa.RSAPrivateKey):
            n = sample.key.private_numbers().public_numbers.n
            hits = [bignum_at(memory, bn, n) for _, bn in memory.pointers(key, KEY)]
            if any(hit is not None for hit in hits):
                found.add(offset)
        elif _point_offsets(memory, key, sample.key):
            found.add(offset)
    return found


def montgomery(value: int, curve: str, limbs: int) -> bytes:
    """A coordinate as BoringSSL keeps it: times 2^(64 * limbs), modulo the field's prime."""
    return ((value << (64 * limbs)) % PRIMES[curve]).to_bytes(limbs * 8, "little")


def _point_offsets(
    memory: Memory, key: int, private: ec.EllipticCurvePrivateKey
) -> list[tuple[int, int, int, int]]:
    """(ec_point, point_x, point_y, point_z) candidates."""
    public = private.public_key().public_numbers()
    curve = private.curve.name
    limbs = private.curve.key_size // 64
    wanted = [montgomery(value, curve, limbs) for value in (public.x, public.y, 1)]
    found = []
    for offset, point in memory.pointers(key, KEY):
        data = memory.read(point, 0x100)
        places = [data.find(coordinate) for coordinate in wanted] if data else [-1]
        if min(places) >= 0:
            found.append((offset, places[0], places[1], places[2]))
    return found


def ec_offsets(
    memory: Memory, path: KeyPath, private: ec.EllipticCurvePrivateKey
) -> dict[str, int]:
    """Where EC_KEY keeps the scalar and the point."""
    d = private.private_numbers().private_value
    scalars = [
        (offset, inner)
        for offset, wrapped in memory.pointers(path.key, KEY)
        for inner in range(0, 0x20, WORD)
        if bignum_at(memory, wrapped + inner, d) == 0
    ]
    points = _point_offsets(memory, path.key, private)
    return {
        "ec_scalar": _only("ec_scalar", (one[0] for one in scalars)),
        "scalar_bn": _only("scalar_bn", (one[1] for one in scalars)),
        "ec_point": _only("ec_point", (one[0] for one in points)),
        "point_x": _only("point_x", (one[1] for one in points)),
        "point_y": _only("point_y", (one[2] for one in points)),
        "point_z": _only("point_z", (one[3] for one in points)),
    }


def chain_offsets(
    memory: Memory, path: KeyPath, certificate: x509.Certificate
) -> set[tuple[int, int, int, int]]:
    """(cred_chain, stack_data, buffer_data, buffer_length) that lead to the certificate's DER."""
    der = certificate.public_bytes(Encoding.DER)
    found = set()
    for cred_chain, stack in memory.pointers(path.credential, CREDENTIAL):
        for stack_data, array in memory.pointers(stack, 0x20):
            buffer = memory.pointer(array)
            for buffer_data in range(0, 0x30, WORD) if buffer else ():
                raw = memory.read(buffer + buffer_data, WORD)
                data = struct.unpack("<Q", raw)[0] if raw else 0
                if not data or memory.read(data, len(der)) != der:
                    continue
                for length_at in range(0, 0x30, WORD):
                    if memory.read(buffer + length_at, WORD) == struct.pack("<Q", len(der)):
                        found.add((cred_chain, stack_data, buffer_data, length_at))
    return found


def connection_offsets(
    memory: Memory, connections: list[int], paths: list[KeyPath], samples: list[Sample]
) -> tuple[int, int]:
    """(ssl_config, config_cert): SSL -> config -> CERT -> a credential of its own, same EVP_PKEY."""
    _, cert_cred, cred_privkey, _ = paths[0].offsets
    pkeys = {path.pkey for path in paths}
    shared_credentials = {path.credential for path in paths}
    contexts = {sample.context for sample in samples}
    per_connection = []
    for ssl in connections:
        hits = set()
        for ssl_config, config in memory.pointers(ssl, SSL):
            if config in contexts:
                continue
            for config_cert, cert in memory.pointers(config, CONFIG):
                credential = memory.pointer(cert + cert_cred)
                if credential in shared_credentials or not credential:
                    continue
                if memory.pointer(credential + cred_privkey) in pkeys:
                    hits.add((ssl_config, config_cert))
        per_connection.append(hits)
    shared = set.intersection(*per_connection) if per_connection else set()
    if len(shared) != 1:
        raise SearchError(
            f"path SSL -> config -> CERT: {len(shared)} candidates in {len(connections)} "
            f"connections: {sorted(shared)}"
        )
    return shared.pop()


def empty_slots(memory: Memory, paths: list[KeyPath]) -> list[int]:
    """Words after the private key's pointer that are NULL in every credential."""
    start = paths[0].offsets[2] + WORD
    return [
        offset
        for offset in range(start, start + 0x20, WORD)
        if all(memory.read(path.credential + offset, WORD) == bytes(WORD) for path in paths)
    ]


def _only_tuple(names: tuple[str, ...], candidates: list[set[tuple[int, ...]]]) -> dict[str, int]:
    shared = set.intersection(*candidates)
    if len(shared) != 1:
        raise SearchError(f"offsets {', '.join(names)}: candidates {sorted(shared)}")
    return dict(zip(names, shared.pop(), strict=True))


def find_offsets(
    memory: Memory, samples: list[Sample], connections: list[int]
) -> tuple[dict[str, int], list[int]]:
    """All offsets but the method slot, and the candidates for that."""
    paths = common_path(memory, samples)
    ctx_cert, cert_cred, cred_privkey, pkey_key = paths[0].offsets
    ssl_config, config_cert = connection_offsets(memory, connections, paths, samples)
    offsets = {
        "ctx_cert": ctx_cert,
        "ssl_config": ssl_config,
        "config_cert": config_cert,
        "cert_cred": cert_cred,
        "cred_privkey": cred_privkey,
        "pkey_key": pkey_key,
    }
    public: list[set[int]] = []
    parts: list[dict[str, int]] = []
    for path, sample in zip(paths, samples, strict=True):
        public.append(public_key_offsets(memory, path, sample, pkey_key))
        if isinstance(sample.key, rsa.RSAPrivateKey):
            parts.append(rsa_offsets(memory, path, sample.key))
        else:
            parts.append(ec_offsets(memory, path, sample.key))
    offsets["cred_pubkey"] = _only("cred_pubkey", set.intersection(*public))
    for part in parts:
        for name, value in part.items():
            if offsets.setdefault(name, value) != value:
                raise SearchError(f"offset {name}: {offsets[name]:#x} and {value:#x}")
    chains: list[set[tuple[int, ...]]] = [
        set(chain_offsets(memory, path, sample.certificate))
        for path, sample in zip(paths, samples, strict=True)
    ]
    names = ("cred_chain", "stack_data", "buffer_data", "buffer_length")
    offsets.update(_only_tuple(names, chains))
    return offsets, empty_slots(memory, paths)
