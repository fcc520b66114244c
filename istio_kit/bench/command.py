"""``istio_kit bench``."""

from __future__ import annotations

import click

from istio_kit.bench.crypto_command import crypto_command
from istio_kit.bench.handshake_command import handshake_command
from istio_kit.errors import EXIT_CODES_HELP


@click.group("bench", epilog=EXIT_CODES_HELP)
def bench_command() -> None:
    """Measure TLS handshakes and private-key operations, with and without the module."""


bench_command.add_command(handshake_command)
bench_command.add_command(crypto_command)
