"""The support table of the README, from the tables of Envoy releases."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_ext.table import Release, Table

_HEAD = """\
| Envoy | binary | build-id | module ABI | memory layout | BoringSSL |
|---|---|---|---|---|---|
"""


def markdown(tables: Sequence[Table]) -> str:
    """Return one row for each release whose hooks and layout were checked."""
    return _HEAD + "".join(_row(table, release) for table in tables for release in table.releases)


def _row(table: Table, release: Release) -> str:
    layout = table.layout_of(release.build_id)
    name, boringssl = (layout.name, layout.boringssl) if layout else ("none: stands aside", "-")
    return (
        f"| {release.version} | {release.source} | `{release.build_id[:12]}…` | "
        f"{table.abi_version} | {name} | {boringssl} |\n"
    )
