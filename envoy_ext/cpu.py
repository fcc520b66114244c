"""What this host's CPU can do, asked of crypto_mb itself (no list of vendors or models)."""

from __future__ import annotations

from envoy_ext.engine import Engine, EngineError


def ifma_reason() -> str | None:
    """None when crypto_mb can batch here, else the reason in words."""
    try:
        return Engine().lanes_reason()
    except EngineError as error:
        return str(error)
