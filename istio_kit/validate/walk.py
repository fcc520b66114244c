"""Walks through untyped documents, with the place of everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST = 100


def mappings(node: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, Json]]:
    """Yield every mapping in `node`, outer ones first, with its path (``.spec.x[0]``)."""
    if depth > _DEEPEST:  # YAML's aliases can make a document that contains itself
        return
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from mappings(value, path + step(key), depth + 1)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from mappings(value, f"{path}[{number}]", depth + 1)


def step(key: object) -> str:
    """Return a key as part of a path."""
    if isinstance(key, int) and not isinstance(key, bool):
        return f"[{key}]"
    return f".{key}" if isinstance(key, str) and _PLAIN.fullmatch(key) else f"[{str(key)!r}]"


def get(node: object, *keys: str) -> Any:  # noqa: ANN401 - whatever the document holds
    """Return what is at the end of `keys`, None where a step is missing or no mapping."""
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def mapping(node: object, *keys: str) -> Json:
    """Return the mapping at the end of `keys`, an empty one for anything else."""
    found = get(node, *keys)
    return found if isinstance(found, dict) else {}
