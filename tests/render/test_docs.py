"""docs/istio.md: its table is what is rendered, its codes are those of the code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from cases import CASES

from istio_kit.istio.releases import RELEASES
from istio_kit.model.load import parse
from istio_kit.render import refuse
from istio_kit.render.select import render

DOCS = Path(__file__).resolve().parents[2] / "docs" / "istio.md"
BLOCK = re.compile(r"(<!-- scopes -->\n).*(<!-- /scopes -->)", re.DOTALL)


def matched_by(document: dict[str, Any]) -> str:
    """The fields that a filter's patches are matched by."""
    fields: list[str] = []
    for patch in document["spec"]["configPatches"]:
        match = patch["match"]
        listener = match.get("listener", {})
        fields += [f"`{name}`" for name in listener if name != "filterChain"]
        fields += [f"`{name}`" for name in listener.get("filterChain", {})]
        if "cluster" in match:
            fields.append("clusters: `service`, `portNumber`")
    return ", ".join(dict.fromkeys(fields))


def rows() -> Iterator[tuple[str, str, str, str]]:
    for name, case in CASES.items():
        found = re.fullmatch(r"module-(.*)-init-container-(1\.\d+)", name)
        if found:
            documents = render(parse(case, name))
            (filter_,) = [one.body for one in documents if one.file == "envoyfilter.yaml"]
            others = ", ".join(f"`{one.file}`" for one in documents if one.body is not filter_)
            yield found[1], found[2], others, matched_by(filter_)


def table() -> str:
    """Rows that differ in the version only are one row."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for scope, version, others, matches in rows():
        grouped.setdefault((scope, others, matches), []).append(version)
    lines = [
        "| scope | Istio | filter chains and clusters matched by | besides the EnvoyFilter |",
        "|---|---|---|---|",
    ]
    for (scope, others, matches), versions in sorted(grouped.items()):
        span = versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]}"
        lines.append(f"| {scope} | {span} | {matches} | {others} |")
    return "\n".join(lines) + "\n"


def test_table() -> None:
    if os.environ.get("REFRESH_GOLDEN") == "1":
        DOCS.write_text(BLOCK.sub(lambda found: found[1] + table() + found[2], DOCS.read_text()))
    found = BLOCK.search(DOCS.read_text())
    assert found
    assert found[0] == f"{found[1]}{table()}{found[2]}"
    assert all(release in table() for release in (next(iter(RELEASES)), list(RELEASES)[-1]))


def test_codes() -> None:
    listed = re.findall(r"^\| (MBK\d{4}) \|", DOCS.read_text(), re.MULTILINE)
    codes = set(re.findall(r'"(MBK\d{4})"', Path(refuse.__file__).read_text()))
    assert listed == sorted(codes)


def test_quick_start_renders() -> None:
    found = re.search(r"<<EOF\n(.*?)EOF", DOCS.read_text(), re.DOTALL)
    assert found
    documents = render(parse(yaml.safe_load(found[1]), "quick start"))
    for one in documents:
        assert f"out/{one.file}" in DOCS.read_text()
