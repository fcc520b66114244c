"""Writes what was found as an entry of a table's ``layouts``."""

from __future__ import annotations

from typing import Any

import yaml

from envoy_ext.layout.probe import HOW, Found


class _HexDumper(yaml.SafeDumper):
    """Offsets read best in hexadecimal; build-ids, in flow style, on one line."""


_HexDumper.add_representer(
    int, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:int", hex(value))
)


def make_entry(found: Found, name: str, boringssl: str) -> dict[str, Any]:
    """Return the entry; `boringssl` is the version that the binary was built with, or unknown."""
    return {
        "name": name,
        "boringssl": boringssl,
        "offsets": dict(found.offsets),
        "evidence": {
            "build_ids": [found.build_id],
            "abi_version": found.abi_version,
            "how": HOW,
        },
    }


def entry_yaml(entry: dict[str, Any]) -> str:
    """Return the entry as an item of the list ``layouts``."""
    text: str = yaml.dump([entry], Dumper=_HexDumper, sort_keys=False, width=98)
    return text
