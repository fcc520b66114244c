"""``istio_kit bench handshake``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from istio_kit.bench.options import Cpus, Numbers, files_explained
from istio_kit.bench.plan import RATE_SHARES, TOOLS, VARIANTS, Plan
from istio_kit.errors import EXIT_CODES_HELP, EXIT_FAILED

_KEYS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")


@click.command("handshake", epilog=EXIT_CODES_HELP)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("bench-handshake"),
    show_default=True,
    help="Folder for results, plots and report.",
)
@click.option("--resume", is_flag=True, help="Take up what the folder holds already.")
@click.option("--quick", is_flag=True, help="A small matrix that ends within 60 s.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the results on stdout.",
)
@click.option(
    "--key", "keys", type=click.Choice(_KEYS), multiple=True, help="Repeatable. [default: rsa2048]"
)
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), default="1.3", show_default=True)
@click.option("--tool", "tools", type=click.Choice(TOOLS), multiple=True, help="Repeatable. [both]")
@click.option(
    "--variant",
    "variants",
    type=click.Choice(VARIANTS),
    multiple=True,
    help="Repeatable: stock Envoy, module, module one operation at a time. [all]",
)
@click.option(
    "--connections", type=Numbers(), default="1,4,16,64,256", show_default=True, help="Closed loop."
)
@click.option(
    "--rates", type=Numbers(), help="Open loop, requests/s. [shares of the stock Envoy's maximum]"
)
@click.option("--repetitions", type=click.IntRange(min=5), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=3.0,
    show_default=True,
    help="Length of one sample.",
)
@click.option("--gateway-cpus", type=Cpus(), help="CPUs for Envoy, a worker each. [one]")
@click.option("--client-cpus", type=Cpus(), help="CPUs for the client. [one of another core]")
@click.option("--loopback", is_flag=True, help="No network namespaces, even as root.")
@click.option("--server", is_flag=True, help="A Fortio server behind the gateway, on client CPUs.")
def handshake_command(**options: Any) -> None:  # noqa: ANN401 - as click gives them
    """Load a stock Envoy and one with the module, in turns, with k6 and Fortio.

    Every request is a new connection and a full handshake, which is checked with Envoy's and the
    module's own counters. Needs the extra packages of 'multibuffer-tls-kit[lab]'.
    """
    from istio_kit.bench import handshake
    from istio_kit.bench.store import Store
    from istio_kit.progress import ProgressDisplay, end_in_order

    plan = _plan(**options)
    handshake.check_parts(plan)
    end_in_order()
    with files_explained():
        store = Store(options["output_dir"], handshake.header(plan), resume=options["resume"])
        try:
            with ProgressDisplay() as progress:
                data = handshake.run(plan, store, progress)
        finally:
            store.discard_if_empty()
        _publish(store, data, options["output"])
    for problem in data["problems"]:
        click.echo(f"Error: {problem}", err=True)
    if data["problems"]:
        sys.exit(EXIT_FAILED)


def _plan(
    *,
    quick: bool,
    keys: tuple[Any, ...],
    tls: Any,  # noqa: ANN401 - click has checked it
    tools: tuple[Any, ...],
    variants: tuple[Any, ...],
    connections: tuple[int, ...],
    rates: tuple[int, ...] | None,
    repetitions: int,
    seconds: float,
    gateway_cpus: tuple[int, ...] | None,
    client_cpus: tuple[int, ...] | None,
    loopback: bool,
    server: bool,
    **_: object,
) -> Plan:
    from istio_kit.lab import can_isolate, host

    usable = host.usable_cpus()
    gateway = gateway_cpus or (
        next((c for c in usable if c not in (client_cpus or ())), usable[0]),
    )
    return Plan(
        keys=keys or ("rsa2048",),
        tls=tls,
        tools=tools or (("k6",) if quick else TOOLS),
        variants=variants or (("stock", "module") if quick else VARIANTS),
        connections=(1, 64) if quick else connections,
        rates=rates or (),
        rate_shares=(0.75,) if quick else RATE_SHARES,
        repetitions=repetitions,
        seconds=1.0 if quick else seconds,
        gateway_cpus=gateway,
        client_cpus=client_cpus or (host.client_cpu_for(gateway[0]),),
        isolated=not loopback and can_isolate(),
        server=server,
    )


def _publish(store: Any, data: dict[str, Any], output: str) -> None:  # noqa: ANN401 - a Store
    """Write results, plots and report, and show the results."""
    import json

    from istio_kit.bench import plots, report, table
    from istio_kit.bench.figures import summarise

    results = summarise(store.samples)
    store.write("results.json", data)
    pictures = plots.draw(results, store.folder)
    page = report.render("bench_handshake.html.j2", data, pictures, results)
    path = store.write_text("report.html", page)
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        table.show(results, data)
    click.echo(f"report: {path}", err=True)
