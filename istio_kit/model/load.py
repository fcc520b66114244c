"""Reads the input: a YAML or JSON document, then ``--set`` and options on top of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from envoy_ext.settings import config_schema
from istio_kit.errors import InputError
from istio_kit.model import types

Json = dict[str, Any]

_MAX_BYTES = 1 << 20
_MENDING = {
    "additionalProperties": "remove it, or mend its spelling",
    "required": "add it",
    "type": "mend its type (a version needs quotes)",
    "enum": "use one of these",
}
_DEFAULT_PORTS = {"chart": 443, "gateway-api": 443, "classic": 8443}


def schema() -> Json:
    """Return the JSON Schema of the input."""
    path = Path(__file__).resolve().parent / "schema.json"
    loaded: Json = json.loads(path.read_text(encoding="utf-8"))
    loaded["properties"]["module"] = config_schema()
    loaded["$defs"]["path"] = config_schema()["$defs"]["path"]
    return loaded


def load(source: str | None, changes: Sequence[str] = ()) -> types.Input:
    """Read the document `source` (a path, ``-`` for stdin, None for an empty one).

    Args:
        source: where the document is.
        changes: ``path=value`` each; the value is YAML, so ``3`` is a number and ``"3"`` a text.

    Raises:
        InputError: something cannot be read or is not as the schema says.
    """
    name, document = ("--set", {}) if source is None else _document(source)
    for change in changes:
        _apply(document, change)
    return parse(document, name)


def parse(document: Json, name: str) -> types.Input:
    """Check a document and make the input of it; `name` is for messages."""
    _check(document, name)
    return _build(_with_defaults(schema(), document))


def _document(source: str) -> tuple[str, Json]:
    name = "stdin" if source == "-" else source
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        if len(raw) > _MAX_BYTES:
            raise InputError(f"{name}: is longer than {_MAX_BYTES} bytes; is it the right file?")
        document = yaml.safe_load(raw.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not UTF-8 text; is it the right file?") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: is not YAML: {_one_line(error)}; mend the syntax") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InputError(f"{name}: $: must be a mapping of fields; see istio_kit render --help")
    return name, document


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _apply(document: Json, change: str) -> None:
    path, equals, text = change.partition("=")
    steps = path.split(".")
    if not equals or not all(steps):
        raise InputError(f"--set {change}: must be path=value, such as scope.kind=mesh")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--set {change}: the value is not YAML: {_one_line(error)}") from error
    place: Any = document
    for step in steps[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise InputError(f"--set {change}: {path} leads through a value that has no fields")
    place[steps[-1]] = value


def _check(document: Json, name: str) -> None:
    try:
        error: ValidationError | None = best_match(
            Draft202012Validator(schema()).iter_errors(document)
        )
    except RecursionError as recursion:
        raise InputError(f"{name}: is nested too deeply") from recursion
    if error is not None:
        mending = _MENDING.get(str(error.validator), "see istio_kit render --schema")
        place = "".join(_steps(error.absolute_path))
        raise InputError(f"{name}: ${place}: {_shortened(error.message)}; {mending}")


def _steps(path: Sequence[str | int]) -> Iterator[str]:
    for step in path:
        yield f"[{step}]" if isinstance(step, int) else f".{step}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."  # noqa: PLR2004


def _with_defaults(of: Mapping[str, Any], document: Any) -> Any:  # noqa: ANN401 - JSON
    """Fill in what the schema has defaults for, in objects and in lists of them."""
    if isinstance(document, list):
        items = of.get("items", {})
        return [_with_defaults(items, item) for item in document]
    if not isinstance(document, dict) or "properties" not in of:
        return document
    filled = dict(document)
    for field, part in of["properties"].items():
        if field in filled:
            filled[field] = _with_defaults(part, filled[field])
        elif "default" in part and of.get("title") != config_schema()["title"]:
            filled[field] = part["default"]
        elif "properties" in part:
            filled[field] = _with_defaults(part, {})
    return filled


def _build(full: Json) -> types.Input:
    scope, gateway = full["scope"], full["scope"]["gateway"]
    ports = gateway.get("ports") or [
        _with_defaults(
            schema()["properties"]["scope"]["properties"]["gateway"]["properties"]["ports"],
            [{"port": _DEFAULT_PORTS[gateway["kind"]]}],
        )[0]
    ]
    made_ports = tuple(
        types.GatewayPort(**{**port, "hosts": tuple(port.get("hosts", ()))}) for port in ports
    )
    made_scope = types.Scope(
        kind=scope["kind"],
        namespace=scope["namespace"],
        mtls=scope["mtls"],
        gateway=types.Gateway(kind=gateway["kind"], name=gateway["name"], ports=made_ports),
        labels=dict(scope.get("labels", {})),
        outbound=tuple(types.Outbound(**one) for one in scope.get("outbound", [])),
        deployment=scope.get("deployment"),
    )
    return types.Input(
        name=full["name"],
        target=full["target"],
        metrics=full["metrics"],
        provider=full["provider"],
        istio=types.Istio(**full["istio"]),
        scope=made_scope,
        delivery=types.Delivery(**full["delivery"]),
        module=full["module"],
        builtin=types.Builtin(**full["builtin"]),
        keys=types.Keys(**full["keys"]),
        envoy=types.PlainEnvoy(**full["envoy"]),
    )
