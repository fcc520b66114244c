"""Finds the memory layout of the BoringSSL inside an Envoy binary that nobody has seen.

Envoy runs with keys whose numbers are known, and its memory is searched for them from outside.
The slot of the private-key method is empty and so has no value to look for: the module writes its
method table to a candidate, and the slot is the one whose table BoringSSL then calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envoy_ext.elf import ElfError, build_id, version_strings
from envoy_ext.layout.errors import NoExtensionPointError, ProbeError
from envoy_ext.layout.keys import RSA_NUMBERS, KnownKey, known_keys
from envoy_ext.layout.memory import Memory
from envoy_ext.layout.process import Connection, Session, running
from envoy_ext.layout.search import (
    CREDENTIAL_WINDOW,
    Bignum,
    Fields,
    FoundContext,
    KeyPath,
    Searcher,
    agreed,
    unique,
    width_and_alloc,
)
from envoy_ext.table import layout_fields

_RSA_PUBLIC = {"rsa_n", "rsa_e"}
_RSA_ALL = {f"rsa_{name}" for name in RSA_NUMBERS}
_EC_PUBLIC = {"ec_point", "point_x", "point_y", "point_z"}
_EC_ALL = _EC_PUBLIC | {"ec_scalar"}
_PATH = ("ctx_cert", "cert_cred", "cred_privkey", "pkey_key")
_SOCKET = ("ssl_bio", "bio_data", "io_fd")
_CHAIN = ("cred_chain", "stack_data", "buffer_data", "buffer_length")

HOW = (
    "Found by layout probe in the running binary with two generated keys each of RSA-2048, P-256 "
    "and P-384. In all contexts every number lies at the end of its path, the certificate's DER at "
    "the end of the chain's; bn_width and bn_alloc differ in copies that a signature made. From "
    "open connections the path through SSL_CONFIG leads to a credential of their own with the same "
    "EVP_PKEY. A method table written to cred_method was called by BoringSSL, and inside sign that "
    "path led to it. From each connection's SSL* the socket path led to its descriptor."
)

Offsets = dict[str, int]


@dataclass(frozen=True)
class Found:
    """What a binary told: offsets in bytes by field of mbk_layout, in that order.

    ``abi_version`` is the version that this Envoy expects of modules, or ``unknown``.
    """

    build_id: str
    abi_version: str
    offsets: Mapping[str, int]


def probe(envoy: Path) -> Found:
    """Find all offsets for a binary.

    Raises:
        NoExtensionPointError: this Envoy has no TLS handshaker for dynamic modules.
        ProbeError: Envoy does not run, or an offset is missing or ambiguous.
    """
    try:
        identity = build_id(envoy)
        versions = version_strings(envoy)
    except (ElfError, OSError) as error:
        raise ProbeError(str(error)) from error
    keys = known_keys()
    abi_version, offsets, slots = _read_offsets(envoy, keys, versions)
    offsets["cred_method"] = _prove_slot(envoy, keys, offsets, slots)
    return Found(identity, abi_version, {field: offsets[field] for field in layout_fields()})


def _read_offsets(
    envoy: Path, keys: Sequence[KnownKey], versions: Sequence[str]
) -> tuple[str, Offsets, list[int]]:
    """Return the ABI version, all offsets but cred_method, and the candidates for that."""
    # The right version is logged; it is tried until one is, and a wrong one does no harm.
    for version in versions[:-1]:
        with running(envoy, keys, {"MBK_PROBE_ABI": version}) as session:
            if _is_abi_version(session, version):
                return version, *_search(session, keys)
    version = versions[-1] if versions else "unknown"
    with running(envoy, keys, {"MBK_PROBE_ABI": version}) as session:
        known = _is_abi_version(session, version)
        return version if known else "unknown", *_search(session, keys)


def _is_abi_version(session: Session, version: str) -> bool:
    return f"ABI version {version} matched" in session.log()


def _search(session: Session, keys: Sequence[KnownKey]) -> tuple[Offsets, list[int]]:
    contexts = [report.address for report in session.reports("ctx")]
    with (
        session.silent_connections(keys) as connections,
        Memory(session.process.pid) as memory,
    ):
        searcher = Searcher(memory, keys)
        offsets, found = _key_offsets(searcher, keys, contexts)
        paths = [
            searcher.ssl_paths(connection.ssl, context, offsets)
            for connection, context in zip(connections, found, strict=True)
        ]
        common = set.intersection(*paths)
        offsets["ssl_config"] = unique("ssl_config", [one for one, _ in common])
        offsets["config_cert"] = unique("config_cert", [two for _, two in common])
        offsets |= _chain_offsets(searcher, keys, found)
        offsets |= _socket_offsets(searcher, connections)
        slots = _slots(searcher, found, offsets["cred_privkey"])
    _add_bignum_ints(session, keys, found, offsets)
    return offsets, slots


def _key_offsets(
    searcher: Searcher, keys: Sequence[KnownKey], contexts: Sequence[int]
) -> tuple[Offsets, list[FoundContext]]:
    """Return the offsets from SSL_CTX to the numbers, and the context of each key."""
    by_key = [_paths_of(searcher, key, contexts) for key in keys]
    private = _common_paths(by_key, keys, _is_private)
    offsets: Offsets = {
        field: unique(field, [path[step] for path in private]) for step, field in enumerate(_PATH)
    }
    path: KeyPath = (
        offsets["ctx_cert"],
        offsets["cert_cred"],
        offsets["cred_privkey"],
        offsets["pkey_key"],
    )
    public = _common_paths(by_key, keys, _is_public)
    offsets["cred_pubkey"] = unique(
        "cred_pubkey", [one[2] for one in public if (one[0], one[1], one[3]) == _around(path)]
    )
    for curve in (False, True):
        pairs = zip(by_key, keys, strict=True)
        offsets |= agreed([found[path] for (_, found), key in pairs if bool(key.point) == curve])
    # The scalar's BIGNUM is embedded: what was found is its limb pointer.
    offsets["scalar_bn"] = offsets.pop("scalar_limbs") - offsets["bn_limbs"]
    return offsets, [searcher.context(ssl_ctx, offsets) for ssl_ctx, _ in by_key]


def _chain_offsets(
    searcher: Searcher, keys: Sequence[KnownKey], found: Sequence[FoundContext]
) -> Offsets:
    common = set.intersection(
        *(
            searcher.chain_paths(context.credential, key.certificate_der)
            for key, context in zip(keys, found, strict=True)
        )
    )
    return {
        field: unique(field, [path[step] for path in common]) for step, field in enumerate(_CHAIN)
    }


def _socket_offsets(searcher: Searcher, connections: Sequence[Connection]) -> Offsets:
    common = set.intersection(*(searcher.socket_paths(one.ssl, one.sockets) for one in connections))
    return {
        field: unique(field, [path[step] for path in common]) for step, field in enumerate(_SOCKET)
    }


def _around(path: KeyPath) -> tuple[int, int, int]:
    return path[0], path[1], path[3]


def _paths_of(
    searcher: Searcher, key: KnownKey, contexts: Sequence[int]
) -> tuple[int, dict[KeyPath, Fields]]:
    """Return the SSL_CTX of a key, and all paths from it to the key."""
    for ssl_ctx in contexts:
        paths = searcher.key_paths(ssl_ctx, key)
        if any(_is_private(key, fields) for fields in paths.values()):
            return ssl_ctx, paths
    raise ProbeError(
        f"ctx_cert, cert_cred, cred_privkey or pkey_key: the {key.name} key was not found behind "
        "any TLS context; this BoringSSL keeps its keys differently than known ones"
    )


def _common_paths(
    by_key: Sequence[tuple[int, dict[KeyPath, Fields]]],
    keys: Sequence[KnownKey],
    wanted: Callable[[KnownKey, Fields], bool],
) -> set[KeyPath]:
    return set.intersection(
        *(
            {path for path, fields in paths.items() if wanted(key, fields)}
            for (_, paths), key in zip(by_key, keys, strict=True)
        )
    )


def _names(fields: Fields) -> set[str]:
    return {name for name, _ in fields}


def _is_private(key: KnownKey, fields: Fields) -> bool:
    return _names(fields) >= (_EC_ALL if key.point else _RSA_ALL)


def _is_public(key: KnownKey, fields: Fields) -> bool:
    names = _names(fields)
    if key.point:
        return names >= _EC_PUBLIC and "ec_scalar" not in names
    return names >= _RSA_PUBLIC and "rsa_d" not in names


def _slots(searcher: Searcher, contexts: Sequence[FoundContext], privkey: int) -> list[int]:
    """Return where the method could be, likeliest first: NULL words near the private key."""
    empty = set.intersection(
        *(searcher.null_words(context.credential, CREDENTIAL_WINDOW) for context in contexts)
    )
    return sorted(empty, key=lambda offset: (abs(offset - privkey), offset))


def _add_bignum_ints(
    session: Session, keys: Sequence[KnownKey], found: Sequence[FoundContext], offsets: Offsets
) -> None:
    """Add bn_width and bn_alloc.

    As parsed, numbers fill what is allocated, and the two look the same. The first signature makes
    trimmed copies, which tell them apart.
    """
    bignums: list[Bignum] = []
    for key in keys:
        session.try_handshake(key)
    with Memory(session.process.pid) as memory:
        searcher = Searcher(memory, keys)
        for key, context in zip(keys, found, strict=True):
            bignums += searcher.bignums_behind(context.key, key)
    width, alloc = width_and_alloc(bignums)
    offsets["bn_width"] = offsets["bn_limbs"] + width
    offsets["bn_alloc"] = offsets["bn_limbs"] + alloc


def _prove_slot(
    envoy: Path, keys: Sequence[KnownKey], offsets: Mapping[str, int], slots: Sequence[int]
) -> int:
    """Return the candidate whose method table BoringSSL calls."""
    for slot in slots:
        if _is_called(envoy, keys, offsets, slot):
            return slot
    tried = ", ".join(f"0x{slot:x}" for slot in slots) or "none"
    raise ProbeError(f"cred_method: no candidate was called by BoringSSL (tried: {tried})")


def _is_called(
    envoy: Path, keys: Sequence[KnownKey], offsets: Mapping[str, int], slot: int
) -> bool:
    steps = (
        offsets["ctx_cert"],
        offsets["cert_cred"],
        slot,
        offsets["ssl_config"],
        offsets["config_cert"],
    )
    environment = {"MBK_PROBE_OFFSETS": " ".join(f"{step:x}" for step in steps)}
    try:
        with running(envoy, keys, environment) as session:
            for key in keys:
                session.try_handshake(key)
            tables = session.reports("table")
            signed = session.reports("sign")
    except NoExtensionPointError:
        raise
    except ProbeError:
        return False  # a wrong place was written to, and Envoy ended
    if len(tables) < len(keys) or len(signed) < len(keys):
        return False
    if any(report.second != tables[0].address for report in signed):
        raise ProbeError(
            "ssl_config or config_cert: during a signature they do not lead to the credential "
            "whose method was called"
        )
    return True
