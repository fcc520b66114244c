"""Finds and loads the project's Jinja2 templates, in a checkout and in an installed package."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from istio_kit.errors import KitError


def directory() -> Path:
    """Return the folder of the templates.

    Raises:
        KitError: the installation is incomplete.
    """
    installed = Path(str(resources.files("envoy_ext"))) / "_templates"
    checkout = Path(__file__).parents[1] / "templates"
    for candidate in (installed, checkout):
        if candidate.is_dir():
            return candidate
    raise KitError(f"templates are missing ({installed}): install the package again")


@cache
def environment() -> Environment:
    """Return the Jinja2 environment: undefined names are errors, text is left as it is."""
    # The output is source code, never HTML: templates quote values with the tojson filter.
    return Environment(
        loader=FileSystemLoader(directory()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
