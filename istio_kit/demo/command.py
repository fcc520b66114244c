"""``istio_kit demo``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, cast

import click

from istio_kit.errors import EXIT_CODES_HELP, EXIT_FAILED, KitError

if TYPE_CHECKING:
    from istio_kit.lab.certs import KeyType
    from istio_kit.lab.config import TlsVersion

# Ed25519 is left out: the module leaves such keys to Envoy.
_DEMO_KEYS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")


@click.command("demo", epilog=EXIT_CODES_HELP)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the report on stdout.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.2),
    default=3.0,
    show_default=True,
    help="Length of one sample.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Rounds; each measures both Envoys at both numbers of connections.",
)
@click.option(
    "--connections",
    type=click.IntRange(min=1, max=4096),
    default=64,
    show_default=True,
    help="Clients at a time in the loaded case (a lone client is always measured as well).",
)
@click.option(
    "--key",
    type=click.Choice(_DEMO_KEYS),
    default="rsa2048",
    show_default=True,
    help="Key of the server's certificate.",
)
@click.option(
    "--tls",
    type=click.Choice(["1.2", "1.3"]),
    default="1.3",
    show_default=True,
    help="TLS version.",
)
@click.option("--gateway-cpu", type=int, help="CPU for Envoy. [default: the first usable one]")
@click.option(
    "--client-cpu", type=int, help="CPU for k6. [default: one on another core than Envoy's]"
)
def demo_command(
    output: Literal["text", "json"],
    seconds: float,
    rounds: int,
    connections: int,
    key: str,
    tls: str,
    gateway_cpu: int | None,
    client_cpu: int | None,
) -> None:
    """Load a stock Envoy and one with the module, in turns, and compare.

    Both run on one CPU with one worker thread; k6 runs on another and opens a new TLS connection
    for every request. Fails when a handshake failed, or when the module did not sign although
    this CPU can batch. Needs the extra packages of 'multibuffer-tls-kit[lab]'.
    """
    import json

    from envoy_ext.artifacts import MissingArtifactError
    from istio_kit.demo import run, table
    from istio_kit.progress import ProgressDisplay, end_in_order

    gateway, client = _choose_cpus(gateway_cpu, client_cpu)
    settings = run.Settings(
        seconds=seconds,
        rounds=rounds,
        connections=connections,
        key=cast("KeyType", key),
        tls=cast("TlsVersion", tls),
        gateway_cpu=gateway,
        client_cpu=client,
    )
    end_in_order()
    try:
        with ProgressDisplay() as progress:
            report = run.run(settings, progress)
    except MissingArtifactError as error:
        raise KitError(str(error)) from error
    if output == "json":
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        table.show(report)
    for problem in report.problems:
        click.echo(f"Error: {problem}", err=True)
    if report.problems:
        sys.exit(EXIT_FAILED)


def _choose_cpus(gateway: int | None, client: int | None) -> tuple[int, int]:
    from istio_kit.lab import host

    usable = host.usable_cpus()
    for option, cpu in (("--gateway-cpu", gateway), ("--client-cpu", client)):
        if cpu is not None and cpu not in usable:
            numbers = ", ".join(map(str, usable))
            raise click.BadParameter(
                f"{cpu} is not a CPU that may be used here; these are: {numbers}",
                param_hint=f"'{option}'",
            )
    if gateway is None:
        gateway = next((cpu for cpu in usable if cpu != client), usable[0])
    return gateway, host.client_cpu_for(gateway) if client is None else client
