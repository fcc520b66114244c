"""Checks Envoy messages: fields, types, the inside of every TypedStruct, the module's settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from jsonschema import Draft202012Validator

from envoy_ext.settings import config_schema
from istio_kit import messages
from istio_kit.findings import Finding
from istio_kit.validate import schemas
from istio_kit.validate.codes import finding
from istio_kit.validate.documents import Document
from istio_kit.validate.walk import Json, get, mapping, mappings

# A type that the descriptors here do not have may still be one that the proxy knows.
_UNKNOWN_TYPE = "Can not find message descriptor"


def message(document: Document, path: str, name: str, value: object) -> Iterator[Finding]:
    """Yield what does not fit the message `name` (with package), and what is wrong inside."""
    if not isinstance(value, dict):
        yield finding("MBK0203", document.at(path), "not a mapping")
        return
    yield from _form(document, path, name, value, "MBK0203")
    yield from inside(document, path, value)


def inside(document: Document, path: str, value: object) -> Iterator[Finding]:
    """Yield what is wrong in TypedStructs and in handshakers, at any depth of `value`."""
    for place, node in mappings(value, path):
        kind = type_name(node.get("@type"))
        if kind in messages.TYPED_STRUCTS:
            yield from _typed_struct(document, place, node)
        elif kind == messages.HANDSHAKER:
            yield from _settings(document, place, node)


def type_name(url: object) -> str:
    """Return the name of a message from its type URL, "" for anything else."""
    return url.rpartition("/")[2] if isinstance(url, str) else ""


def _form(document: Document, path: str, name: str, value: Json, code: str) -> Iterator[Finding]:
    try:
        messages.checked(name, value)
    except messages.MessageError as error:
        if _UNKNOWN_TYPE not in str(error):
            where, detail = _placed(str(error), name)
            yield finding(code, document.at(path + where), detail)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        # protobuf's JSON reader raises these for values of impossible kinds.
        yield finding(code, document.at(path), str(error))


def _placed(text: str, name: str) -> tuple[str, str]:
    """Split protobuf's message: where below the message `name`, and what without its way there."""
    detail = re.sub(r"^(?:Failed to parse \S+ field: )+", "", text).rstrip(".")
    found = re.fullmatch(r'(.*) at "?([\w.\[\]]+?)"?\.?', detail)
    short = name.rpartition(".")[2]
    if found and (found[2] + ".").startswith((f"{short}.", f"{short}[")):
        return found[2].removeprefix(short).rstrip("."), found[1]
    return "", detail


def _typed_struct(document: Document, path: str, node: Json) -> Iterator[Finding]:
    name, value = type_name(node.get("type_url")), node.get("value")
    if not name:
        yield finding("MBK0204", document.at(path), "type_url is missing")
    elif not isinstance(value, dict):
        yield finding("MBK0204", document.at(f"{path}.value"), "not a mapping")
    elif messages.is_known(name):
        yield from _form(document, f"{path}.value", name, value, "MBK0204")
        if name == messages.HANDSHAKER:
            yield from _settings(document, f"{path}.value", value)


def _settings(document: Document, path: str, handshaker: Json) -> Iterator[Finding]:
    """Check the module's own configuration, when the module is this project's."""
    if get(handshaker, "dynamic_module_config", "name") != "multibuffer":
        return
    where = f"{path}.handshaker_config"
    config = mapping(handshaker, "handshaker_config")
    value = config.get("value", {})
    if type_name(config.get("@type")).endswith("StringValue") and isinstance(value, str):
        try:
            value = json.loads(value) if value else {}
        except (ValueError, RecursionError) as reason:
            yield finding("MBK0205", document.at(f"{where}.value"), f"not JSON: {reason}")
            return
    for error in schemas.errors(_settings_validator(), value):
        place = document.at(f"{where}.value{schemas.path_of(error)}")
        yield finding("MBK0205", place, schemas.shortened(error))


@cache
def _settings_validator() -> Draft202012Validator:
    return Draft202012Validator(config_schema())
