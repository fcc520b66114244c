"""``python -m envoy_ext layout probe`` and ``layout verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from envoy_ext import artifacts, elf, table
from envoy_ext.layout.errors import ProbeError
from envoy_ext.layout.probe import Findings, entry_yaml, probe

ENVOY = click.option(
    "--envoy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The Envoy binary.",
)


@click.group("layout")
def layout_group() -> None:
    """Find or check where an Envoy binary keeps a private key's numbers."""


def _probe(envoy: Path, abi: str) -> Findings:
    click.echo(f"probing {envoy} ...", err=True)
    try:
        findings = probe(envoy, abi)
    except (ProbeError, elf.ElfFileError, artifacts.MissingArtifactError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    if not findings.abi_matches:
        click.echo(f"warning: this Envoy's module ABI is not {abi}; check the hooks", err=True)
    return findings


@layout_group.command("probe")
@ENVOY
@click.option("--name", help="Name of the layout (default: from the build-id).")
@click.option("--boringssl", default="unknown", help="BoringSSL's version, if it is known.")
@click.option("--abi", default="v0.2.0", show_default=True, help="ABI version to claim.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to FILE.")
def probe_command(
    envoy: Path, name: str | None, boringssl: str, abi: str, output: Path | None
) -> None:
    """Find all offsets of an Envoy binary; prints an entry for a table's 'layouts'."""
    findings = _probe(envoy, abi)
    text = entry_yaml(findings.entry(name or f"build-{findings.build_id[:12]}", boringssl))
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)


def _layout(one: table.Table, name: str | None) -> table.Layout:
    for layout in one.layouts:
        if name in (None, layout.name):
            return layout
    raise table.TableError(f"{one.source}: has no layout {name or ''}; add one with layout probe")


@layout_group.command("verify")
@ENVOY
@click.option(
    "--table",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=table.TABLES / "1.40.yaml",
    help="The table to check.",
)
@click.option("--layout", "name", help="Name of the layout (default: the first).")
def verify_command(envoy: Path, path: Path, name: str | None) -> None:
    """Check a table's layout against an Envoy binary; exit code 1 when it does not fit."""
    try:
        one = table.load(path)
        expected = _layout(one, name).offsets
    except table.TableError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    found = _probe(envoy, one.abi_version).offsets
    wrong = 0
    for field, offset in found.items():
        fits = expected[field] == offset
        wrong += not fits
        told = "" if fits else f" (table: {expected[field]:#x})"
        click.echo(f"{'OK      ' if fits else 'MISMATCH'} {field:14} {offset:#x}{told}")
    if wrong:
        click.echo(f"error: {wrong} offsets of {path} do not fit {envoy}", err=True)
        sys.exit(1)
