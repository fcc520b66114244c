"""Checks objects against the schema of their kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from istio_kit.findings import Finding
from istio_kit.validate.codes import finding
from istio_kit.validate.documents import Document
from istio_kit.validate.walk import Json, step

_FOLDER = Path(__file__).resolve().parent / "schemas"
_LONGEST = 200
_NAME = re.compile(r"[A-Za-z0-9./-]+")


def check(document: Document) -> Iterator[Finding]:
    """Yield what does not fit the schema of the object's kind."""
    api, kind = document.data.get("apiVersion"), document.data.get("kind")
    validator = _validator(str(api), str(kind))
    if validator is None:
        yield finding("MBK0202", document.at(".kind"), f"{api} {kind}")
        return
    for error in errors(validator, document.data):
        yield finding("MBK0201", document.at(path_of(error)), shortened(error))


def errors(validator: Draft202012Validator, data: object) -> Iterator[ValidationError]:
    """Yield the errors, the most telling inner one where a choice of forms failed."""
    for error in validator.iter_errors(data):
        yield (best_match(error.context) or error) if error.context else error


def path_of(error: ValidationError) -> str:
    """Return the place of an error."""
    return "".join(step(one) for one in error.absolute_path)


def shortened(error: ValidationError) -> str:
    """Return the message without the rest of a long value."""
    text = error.message
    return text if len(text) <= _LONGEST else f"{text[:120]} … {text[-75:]}"


@cache
def _validator(api: str, kind: str) -> Draft202012Validator | None:
    if not (_NAME.fullmatch(api) and _NAME.fullmatch(kind)):
        return None
    path = _FOLDER / f"{api.replace('/', '_')}_{kind}.json"
    return Draft202012Validator(_load(path)) if path.is_file() else None


def _load(path: Path) -> Json:
    schema: Json = json.loads(path.read_text(encoding="utf-8"))
    return schema


def sources() -> Mapping[str, Any]:
    """Return where each schema was taken from."""
    return _load(_FOLDER / "sources.json")
