"""``python -m envoy_ext layout probe`` and ``layout verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envoy_ext import table
from envoy_ext.layout.errors import ProbeError

if TYPE_CHECKING:
    from envoy_ext.layout.probe import Found

ENVOY = click.option(
    "--envoy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The Envoy binary.",
)


@click.group("layout")
def layout_group() -> None:
    """Find or check where an Envoy binary keeps a private key's numbers."""


@layout_group.command("probe")
@ENVOY
@click.option("--name", help="Name of the layout (default: from the build-id).")
@click.option("--boringssl", default="unknown", help="BoringSSL's version, if it is known.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to FILE.")
def probe_command(envoy: Path, name: str | None, boringssl: str, output: Path | None) -> None:
    """Find all offsets of an Envoy binary; prints an entry for a table's 'layouts'."""
    from envoy_ext.layout.entry import entry_yaml, make_entry

    found = _probed(envoy)
    text = entry_yaml(make_entry(found, name or f"build-{found.build_id[:12]}", boringssl))
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"written: {output}", err=True)


@layout_group.command("verify")
@ENVOY
@click.option(
    "--table",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=table.TABLES / "1.40.yaml",
    help="The table to check (default: the newest of the package).",
)
@click.option("--layout", "name", help="Name of the layout (default: the first).")
def verify_command(envoy: Path, path: Path, name: str | None) -> None:
    """Check a table's layout against an Envoy binary; exit status 1 when it does not fit."""
    try:
        one = table.load(path)
        expected = one.layout_named(name)
    except table.TableError as error:
        raise click.ClickException(str(error)) from error
    found = _probed(envoy)
    if found.abi_version != one.abi_version:
        click.echo(
            f"warning: this Envoy expects module ABI {found.abi_version}, the table describes "
            f"{one.abi_version}: check the shapes of the hooks",
            err=True,
        )
    wrong = 0
    for field, offset in found.offsets.items():
        fits = expected.offsets[field] == offset
        wrong += not fits
        told = "" if fits else f" (table: {expected.offsets[field]:#x})"
        click.echo(f"{'OK      ' if fits else 'MISMATCH'} {field:14} {offset:#x}{told}")
    if wrong:
        raise click.ClickException(
            f"{wrong} offsets of {path} do not fit {envoy}; write an entry of its own with "
            "layout probe"
        )


def _probed(envoy: Path) -> Found:
    from envoy_ext.layout.probe import probe

    click.echo(f"probing {envoy} ...", err=True)
    try:
        return probe(envoy)
    except ProbeError as error:
        raise click.ClickException(f"{envoy}: {error}") from error
