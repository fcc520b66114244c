"""Tools of the Envoy module: ``python -m envoy_ext``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from envoy_ext import __version__
from envoy_ext.build import COMMANDS
from envoy_ext.layout.commands import layout_group

_TABLE = click.Path(path_type=Path, dir_okay=False)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn expected failures into one line on stderr and exit status 1."""
    from envoy_ext.generate import TemplatesMissingError
    from envoy_ext.layout.errors import ProbeError
    from envoy_ext.table import TableError

    try:
        yield
    except (TableError, TemplatesMissingError, ProbeError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.group()
@click.version_option(__version__, prog_name="envoy_ext")
def cli() -> None:
    """Tables, generated files, memory layouts and build of the Envoy module."""


@cli.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when a file is stale.")
@click.option("--table", type=_TABLE, help="A table that is not among the package's own.")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that gets one subfolder per Envoy minor version.",
)
def gen(*, check: bool, table: Path | None, output_dir: Path | None) -> None:
    """Write the C files that depend on the Envoy version."""
    from envoy_ext import generate
    from envoy_ext.table import load, table_paths

    root = output_dir or generate.GENERATED
    paths: list[Path] = []
    with _reported():
        for loaded in [load(path) for path in ([table] if table else table_paths())]:
            folder = root / loaded.envoy
            paths += generate.stale(loaded, folder) if check else generate.write(loaded, folder)
    for path in paths:
        click.echo(f"{'stale' if check else 'written'}: {path}")
    if check and paths:
        click.echo("Run: make gen", err=True)
        sys.exit(1)


@cli.command("support-table")
def support_table() -> None:
    """Print the supported releases and how they were checked, as Markdown."""
    from envoy_ext.support import markdown
    from envoy_ext.table import load, table_paths

    with _reported():
        click.echo(markdown([load(path) for path in table_paths()]), nl=False)


for _command in (*COMMANDS, layout_group):
    cli.add_command(_command)


if __name__ == "__main__":
    cli(prog_name="python -m envoy_ext")
