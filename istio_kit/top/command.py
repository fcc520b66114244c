"""``istio_kit top``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import click

from istio_kit.errors import EXIT_CODES_HELP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from istio_kit.top.rates import Rates
    from istio_kit.top.source import Source


@click.command("top", epilog=EXIT_CODES_HELP)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--once", is_flag=True, help="Print one reading and end.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format on stdout; json is one array a reading.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    help="Seconds between readings.",
)
def top_command(targets: tuple[str, ...], output: str, interval: float, *, once: bool) -> None:
    """Watch proxies: operations a second, share and fill of batches, CPU, what is left to Envoy.

    TARGET is the URL of Envoy's admin interface (http://127.0.0.1:15000), or a pod,
    pod/NAME@NAMESPACE:PORT, which is reached through kubectl port-forward; without a namespace
    it is kubectl's own, without a port Istio's 15000. The proxies need the module's bootstrap
    extension. Ctrl-C ends it.
    """
    from istio_kit.top.source import opened

    with opened(targets) as sources, contextlib.suppress(KeyboardInterrupt):
        if output == "text" and not once:
            _live(sources, interval)
        else:
            _print(sources, interval, output, once=once)


def _live(sources: list[Source], interval: float) -> None:
    from rich.live import Live

    from istio_kit.top.view import render

    with Live(auto_refresh=False) as live:
        for rates in _readings(sources, interval):
            live.update(render(rates), refresh=True)


def _print(sources: list[Source], interval: float, output: str, *, once: bool) -> None:
    import dataclasses
    import json

    from rich.console import Console

    from istio_kit.top.view import render

    for rates in _readings(sources, interval):
        if output == "json":
            click.echo(json.dumps([dataclasses.asdict(one) for one in rates]))
        else:
            Console(highlight=False).print(render(rates))
        if once:
            return


def _readings(sources: list[Source], interval: float) -> Iterator[list[Rates]]:
    from istio_kit.top.rates import between

    earlier = [source.read() for source in sources]
    while True:
        time.sleep(interval)
        later = [source.read() for source in sources]
        yield [
            between(source.name, before, after)
            for source, before, after in zip(sources, earlier, later, strict=True)
        ]
        earlier = later
