"""``istio_kit render`` and ``istio_kit explain``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from istio_kit.errors import EXIT_CODES_HELP, InputError, KitError

if TYPE_CHECKING:
    from istio_kit.model.types import Input

Command = Callable[..., None]

# Options that are short for --set.
_SHORT = {
    "target": "target",
    "provider": "provider",
    "scope": "scope.kind",
    "istio_version": "istio.version",
    "namespace": "scope.namespace",
    "delivery": "delivery.kind",
}


def _input_options(command: Command) -> Command:
    options: list[Callable[[Command], Command]] = [
        click.option("-f", "--filename", metavar="FILE", help="Input (YAML or JSON); - for stdin."),
        click.option(
            "-s", "--set", "changes", multiple=True, metavar="PATH=VALUE", help="Changes the input."
        ),
        click.option("--target", help="istio, envoy or envoy-gateway. [default: istio]"),
        click.option("--provider", help="module, cryptomb or qat. [default: module]"),
        click.option("--scope", help="mesh, gateway, namespace or workload. [default: gateway]"),
        click.option("--istio-version", help="Of the proxies, such as 1.31.2."),
        click.option("-n", "--namespace", help="Of gateway or workload."),
        click.option("--delivery", help="init-container, image or image-volume."),
    ]
    for option in options[::-1]:
        command = option(command)
    return command


def _read(filename: str | None, changes: Sequence[str], short: Mapping[str, str | None]) -> Input:
    from istio_kit.model.load import load

    if filename == "-" and sys.stdin.isatty():
        click.echo("reading the input from the terminal; end it with Ctrl-D", err=True)
    given = [
        f"{_SHORT[name]}={json.dumps(value)}" for name, value in short.items() if value is not None
    ]
    return load(filename, [*given, *changes])


@click.command("render", epilog=EXIT_CODES_HELP)
@_input_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="Format of the documents.",
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write one file for each document instead of stdout.",
)
@click.option("--schema", "show_schema", is_flag=True, help="Print the input's JSON Schema.")
def render_command(
    filename: str | None,
    changes: tuple[str, ...],
    output: str,
    output_dir: Path | None,
    *,
    show_schema: bool,
    **short: str | None,
) -> None:
    """Print the configuration that turns batched signing on.

    Without an input: the module for a gateway of Istio's Helm chart. Nothing is applied.
    """
    from istio_kit.render.document import dump, to_json, to_yaml
    from istio_kit.render.select import render

    if show_schema:
        from istio_kit.model.load import schema

        click.echo(json.dumps(schema(), indent=2))
        return
    documents = render(_read(filename, changes, short))
    if output_dir is None:
        click.echo(to_json(documents) if output == "json" else to_yaml(documents), nl=False)
        return
    if output == "json":
        raise click.UsageError("--output-dir writes YAML files; leave out -o json")
    write_all(output_dir, {one.file: f"# {one.use}\n{dump(one.body)}" for one in documents})
    for one in documents:
        click.echo(f"written: {output_dir / one.file}", err=True)


@click.command("explain", epilog=EXIT_CODES_HELP)
@_input_options
def explain_command(filename: str | None, changes: tuple[str, ...], **short: str | None) -> None:
    """Tell which objects render would make for an input, and why."""
    from istio_kit.render.explain import explain

    click.echo(explain(_read(filename, changes, short)), nl=False)


def write_all(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files, or none of them: each replaces its predecessor only when all are on disk.

    Raises:
        KitError: the folder cannot be written to.
        InputError: it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; name another")
    ready: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            ready.append((Path(path), folder / name))
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(path).chmod(0o644)
        for fresh, final in ready:
            fresh.replace(final)
    except OSError as error:
        raise KitError(f"{folder}: cannot be written: {error.strerror}; nothing was") from error
    finally:
        for fresh, _ in ready:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
