"""The module's configuration, as its users write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``handshaker_config``."""
    path = Path(__file__).resolve().parent / "config.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema
