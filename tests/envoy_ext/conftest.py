from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from envoy_ext import table

NEWEST = table.TABLES / "1.40.yaml"

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="session")
def original() -> dict[str, Any]:
    """The newest table, as a document that tests may change copies of."""
    document: dict[str, Any] = yaml.safe_load(NEWEST.read_text())
    return document


@pytest.fixture
def document(original: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(original)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(document: dict[str, Any]) -> Path:
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return to_file
