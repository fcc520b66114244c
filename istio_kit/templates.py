"""Loads the project's Jinja2 templates."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from envoy_ext.generate import templates_dir


@cache
def environment() -> Environment:
    """Return the Jinja2 environment: undefined names are errors, text is left as it is."""
    # The output is source code, never HTML: templates quote values with the tojson filter.
    return Environment(
        loader=FileSystemLoader(templates_dir()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


@cache
def html_environment() -> Environment:
    """Return the Jinja2 environment for HTML: every value is escaped."""
    return environment().overlay(autoescape=True)
