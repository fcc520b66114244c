"""``istio_kit doctor``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from istio_kit.errors import EXIT_CODES_HELP, EXIT_FINDINGS, KitError
from istio_kit.options import output_option

if TYPE_CHECKING:
    from istio_kit.doctor.result import Check

_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@click.command("doctor", epilog=EXIT_CODES_HELP)
@click.option(
    "--envoy",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Also check this Envoy binary (it is not run).",
)
@click.option("--admin", metavar="URL", help="Also check the proxy with this admin address.")
@click.option(
    "--module-dir",
    type=click.Path(path_type=Path),
    help="Folder with the module. [default: the search path's, else the installed one]",
)
@click.option("--no-host", is_flag=True, help="Leave out the checks of this host.")
@click.option("--strict", is_flag=True, help="Exit with 79 for WARN too, not only for FAIL.")
@output_option("report")
def doctor_command(
    *,
    envoy: Path | None,
    admin: str | None,
    module_dir: Path | None,
    no_host: bool,
    strict: bool,
    output: Literal["text", "json"],
) -> None:
    """Check whether the module can sign here, each line with its remedy.

    Looks at this host; with --envoy at a binary; with --admin at a running proxy. OK: fine. WARN:
    a part is left to Envoy. FAIL: the module will not sign, or a configuration was rejected.
    """
    import json

    from istio_kit.doctor import result

    groups = _run(envoy, admin, module_dir, host=not no_host)
    found = [check for checks in groups.values() for check in checks]
    counts = result.count(found)
    if output == "json":
        report = {
            "groups": {name: [one.as_dict() for one in checks] for name, checks in groups.items()},
            "counts": counts,
        }
        click.echo(json.dumps(report, indent=2))
    else:
        for name, checks in groups.items():
            _show(name, checks)
    click.echo(", ".join(f"{number} {status}" for status, number in counts.items()), err=True)
    if counts["FAIL"] or (strict and counts["WARN"]):
        sys.exit(EXIT_FINDINGS)


def _run(
    envoy: Path | None, admin: str | None, module_dir: Path | None, *, host: bool
) -> dict[str, list[Check]]:
    from envoy_ext.artifacts import MissingArtifactError

    groups: dict[str, list[Check]] = {}
    if host:
        from istio_kit.doctor import host as host_checks

        try:
            groups["host"] = host_checks.checks(host_checks.Host.here(module_dir))
        except MissingArtifactError as error:
            raise KitError(str(error)) from error
    if envoy:
        from istio_kit.doctor import binary

        groups[f"binary {envoy}"] = binary.checks(envoy)
    if admin:
        from istio_kit.doctor import admin as admin_checks

        groups[f"proxy {admin}"] = admin_checks.checks(admin)
    return groups


def _show(name: str, checks: list[Check]) -> None:
    click.secho(name, bold=True)
    for one in checks:
        status = click.style(f"{one.status:4}", fg=_COLOURS[one.status])
        click.echo(f"  {status}  {one.name}: {one.detail}")
        if one.remedy:
            click.echo(f"        remedy: {one.remedy}")
