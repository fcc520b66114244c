"""``istio_kit dashboard``."""

from __future__ import annotations

import click

from istio_kit.errors import EXIT_CODES_HELP


@click.command("dashboard", epilog=EXIT_CODES_HELP)
def dashboard_command() -> None:
    """Print a Grafana dashboard (JSON to import) of the module's metrics.

    The proxies need the module's bootstrap extension, and a Prometheus that scrapes them.
    """
    import json

    from istio_kit.dashboard.panels import dashboard

    click.echo(json.dumps(dashboard(), indent=2, ensure_ascii=False))
