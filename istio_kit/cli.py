"""The `istio_kit` command line.

Data goes to stdout; progress and messages go to stderr. A command's module is imported when the
command is named, and imports what it needs when it runs: rendering must not wait for plotting.
"""

from __future__ import annotations

import importlib

import click

from istio_kit import __version__
from istio_kit.errors import EXIT_CODES_HELP, KitError

# Command -> where it is. `cli --help` imports them all, a single command only its own.
_COMMANDS = {
    "bench": "istio_kit.bench.command:bench_command",
    "dashboard": "istio_kit.dashboard.command:dashboard_command",
    "demo": "istio_kit.demo.command:demo_command",
    "explain": "istio_kit.render.command:explain_command",
    "render": "istio_kit.render.command:render_command",
    "doctor": "istio_kit.doctor.command:doctor_command",
    "package": "istio_kit.package.command:package_command",
    "top": "istio_kit.top.command:top_command",
    "validate": "istio_kit.validate.command:validate_command",
}


class _Group(click.Group):
    """Finds commands by name, and turns the project's errors into one line and their exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{_COMMANDS[cmd_name]} is not a command")
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KitError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(
    cls=_Group, epilog=EXIT_CODES_HELP, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="istio_kit")
def cli() -> None:
    """Batched TLS signing for Envoy and Istio gateways."""


def main() -> None:
    """Run the command line."""
    cli(prog_name="istio_kit")
