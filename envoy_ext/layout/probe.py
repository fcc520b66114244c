"""Probing: all offsets of an Envoy binary that nobody has looked at before."""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from envoy_ext import artifacts, elf
from envoy_ext.layout.memory import Memory
from envoy_ext.layout.search import SearchError, find_offsets
from envoy_ext.layout.target import Identity, Target, TargetError, make_identities

MODULE = "libmultibuffer_probe.so"
HOW = (
    "Found by the prober in the running binary, with keys that it had generated (RSA-2048, P-256, "
    "P-384). Every number of the keys lies at the end of its path of pointers, and the "
    "certificate's DER at the end of the credential's chain, in every context. From the SSL* of open "
    "connections a path leads to a credential with the same EVP_PKEY. A method table written to "
    "cred_method was called by BoringSSL's handshake, and inside sign that path led to it."
)


@dataclass(frozen=True)
class Findings:
    """What was found in one binary."""

    build_id: str
    abi: str
    abi_matches: bool
    offsets: dict[str, int]

    def entry(self, name: str, boringssl: str) -> dict[str, object]:
        """A layout entry for a table."""
        return {
            "name": name,
            "boringssl": boringssl,
            "offsets": self.offsets,
            "evidence": {
                "build_ids": [self.build_id],
                "abi_version": self.abi if self.abi_matches else "unknown",
                "how": HOW,
            },
        }


class _HexDumper(yaml.SafeDumper):
    """Offsets read best in hexadecimal."""


_HexDumper.add_representer(
    int, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:int", hex(value))
)


def entry_yaml(entry: dict[str, object]) -> str:
    """A layout entry as an item of a table's ``layouts`` list."""
    text: str = yaml.dump([entry], Dumper=_HexDumper, sort_keys=False, width=98)
    return text


def _offset_words(offsets: dict[str, int]) -> str:
    names = ("ctx_cert", "cert_cred", "cred_method", "ssl_config", "config_cert")
    return " ".join(str(offsets[name]) for name in names)


def _search(
    envoy: Path, folder: Path, identities: list[Identity], abi: str
) -> tuple[dict[str, int], list[int], bool]:
    with Target(envoy, folder, identities, abi=abi) as target, ExitStack() as stack:
        samples = target.samples()
        # Silent connections: each has an SSL* that waits for its ClientHello while we read.
        for port in target.ports():
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        connections = target.wait_for("ssl", len(identities))
        memory = stack.enter_context(Memory(target.process.pid))
        offsets, slots = find_offsets(memory, samples, connections)
        return offsets, slots, f"ABI version {abi} matched" in target.log_text()


def _slot_is_called(
    envoy: Path, folder: Path, identities: list[Identity], abi: str, offsets: dict[str, int]
) -> bool:
    words = _offset_words(offsets)
    with Target(envoy, folder, identities, abi=abi, offsets=words) as target:
        try:
            for port in target.ports():
                target.handshake(port)
        except TargetError:
            return False  # a wrong word may well end Envoy
        return target.reports("sign") == [1] * len(identities)


def probe(envoy: Path, abi: str) -> Findings:
    """Finds every offset, and proves the method slot by use.

    Takes seconds. Raises ProbeError or ElfFileError with a reason for people.
    """
    build_id = elf.build_id(envoy)
    identities = make_identities()
    with tempfile.TemporaryDirectory(prefix="mbk-probe-") as scratch:
        folder = Path(scratch)
        shutil.copy2(artifacts.module_dir() / MODULE, folder / MODULE)
        offsets, slots, matches = _search(envoy, folder, identities, abi)
        proven = [
            slot
            for slot in slots
            if _slot_is_called(envoy, folder, identities, abi, {**offsets, "cred_method": slot})
        ]
    if len(proven) != 1:
        tried = ", ".join(map(hex, slots))
        raise SearchError(f"offset cred_method: {len(proven)} of the words {tried} were called")
    offsets["cred_method"] = proven[0]
    return Findings(build_id, abi, matches, dict(sorted(offsets.items())))

