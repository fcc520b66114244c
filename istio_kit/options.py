"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def output_option(
    of: str, formats: Sequence[str] = ("text", "json")
) -> Callable[[_Command], _Command]:
    """Return the option ``-o``: the format of what is printed; `of` names that."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=f"Format of the {of} on stdout.",
    )
