"""Reads manifests: files, folders and standard input, one or more YAML documents each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from istio_kit.errors import InputError

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Document:
    """One document; ``source`` is the file, with the document's number when it is not the first."""

    source: str
    data: Any

    def at(self, path: str) -> str:
        """Return the place of `path` (``.spec.x[0]``) for a finding."""
        return f"{self.source}::${path}"


def read(names: Sequence[str]) -> list[Document]:
    """Return all documents of the files, of the folders' files and of ``-`` (standard input).

    Raises:
        InputError: one cannot be read or is not YAML.
    """
    return [document for name in names for document in _read(name)]


def _read(name: str) -> Iterator[Document]:
    if name == "-":
        yield from _parse("(stdin)", sys.stdin.buffer.read())
        return
    path = Path(name)
    try:
        files = sorted(_walk(path)) if path.is_dir() else [path]
        for file in files:
            yield from _parse(str(file), file.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name}: cannot be read: {reason}; check the path") from error
    if not files:
        raise InputError(f"{name}: no file there ends in {', '.join(_SUFFIXES)}; check the path")


def _walk(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names if name.endswith(_SUFFIXES))


def _parse(source: str, data: bytes) -> Iterator[Document]:
    try:
        documents = list(yaml.safe_load_all(data))
    # The constructor raises ValueError for impossible dates, the reader for bad encodings.
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{source}: not YAML: {text}; mend the syntax there") from error
    for number, document in enumerate(documents, start=1):
        if document is None:
            continue
        where = source if number == 1 else f"{source} (document {number})"
        yield from _items(where, document)


def _items(where: str, document: Any) -> Iterator[Document]:  # noqa: ANN401 - whatever YAML holds
    if isinstance(document, dict) and document.get("kind") == "List":
        items = document.get("items")
        for number, item in enumerate(items if isinstance(items, list) else ()):
            yield Document(f"{where} (item {number + 1})", item)
    else:
        yield Document(where, document)
