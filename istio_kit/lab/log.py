"""Reads Envoy's log for what nobody may overlook."""

from __future__ import annotations

import re
from collections.abc import Sequence

ALWAYS_ALLOWED = (
    # How Envoy reports that it was told to stop.
    r"caught ENVOY_SIGTERM$",
)


def warnings_of(log: str) -> list[str]:
    """Return the log's lines of level warning and above."""
    return re.findall(r"^\[[^]]*\]\[\d+\]\[(?:warning|error|critical)\].*$", log, re.MULTILINE)


def unexpected_lines(log: str, allowed: Sequence[str]) -> list[str]:
    """Return warnings, and traces of a crash, that no regular expression of `allowed` fits."""
    patterns = [re.compile(pattern) for pattern in (*ALWAYS_ALLOWED, *allowed)]
    lines = warnings_of(log)
    lines += re.findall(r"^.*(?:Caught |Sanitizer|assert failure|Backtrace).*$", log, re.MULTILINE)
    return [line for line in lines if not any(pattern.search(line) for pattern in patterns)]
