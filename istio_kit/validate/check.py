"""Finds out what a document is, and checks it accordingly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from istio_kit import messages
from istio_kit.findings import Finding
from istio_kit.validate import envoyfilter, mesh, schemas, typed
from istio_kit.validate.codes import finding
from istio_kit.validate.documents import Document
from istio_kit.validate.walk import get, mapping

_BOOTSTRAP_FIELDS = ("static_resources", "dynamic_resources", "admin")
# Helm values of istiod and of the gateway chart, and patches for `kubectl patch`.
_PARTS = ("meshConfig", "podAnnotations", "initContainers", "volumes", "env", "spec", "metadata")
# Keys of the ConfigMap that Istio merges into what it makes for a Gateway.
_OVERLAYS = ("deployment", "service", "serviceAccount")


@dataclass(frozen=True, slots=True)
class Options:
    """``istio`` is the version of the proxies, None when it is not known."""

    istio: str | None = None


def check(document: Document, options: Options) -> Iterator[Finding]:
    """Yield the findings of one document."""
    data = document.data
    if not isinstance(data, dict):
        yield finding("MBK0202", document.at(""), f"a {type(data).__name__}, not a mapping")
    elif "kind" in data or "apiVersion" in data:
        yield from _object(document)
        yield from mesh.check(document, options.istio)
        yield from _overlays(document, options)
    elif is_bootstrap(data):
        yield from typed.message(document, "", messages.BOOTSTRAP, data)
    elif "transport_socket" in data:
        yield from _fragment(document)
    elif any(field in data for field in _PARTS):
        yield from mesh.check(document, options.istio)
    else:
        yield finding("MBK0202", document.at(""), "neither object, Envoy configuration nor values")


def is_bootstrap(data: object) -> bool:
    """Whether a document is the configuration of an Envoy."""
    return isinstance(data, dict) and any(field in data for field in _BOOTSTRAP_FIELDS)


def _object(document: Document) -> Iterator[Finding]:
    yield from schemas.check(document)
    kind = document.data.get("kind")
    if kind == "EnvoyFilter":
        yield from envoyfilter.check(document)
    elif kind == "EnvoyPatchPolicy":
        yield from typed.inside(document, ".spec", document.data.get("spec"))


def _fragment(document: Document) -> Iterator[Finding]:
    socket = document.data["transport_socket"]
    name = typed.type_name(get(socket, "typed_config", "@type"))
    side = "cluster.v3.Cluster" if name == messages.UPSTREAM else "listener.v3.FilterChain"
    yield from typed.message(document, "", f"envoy.config.{side}", document.data)


def _overlays(document: Document, options: Options) -> Iterator[Finding]:
    if document.data.get("kind") != "ConfigMap":
        return
    data = mapping(document.data, "data")
    for key in _OVERLAYS:
        if isinstance(data.get(key), str):
            inner = Document(f"{document.source} ({key})", _parsed(data[key]))
            yield from mesh.check(inner, options.istio)
    if isinstance(data.get("mesh"), str):  # istiod's own ConfigMap
        inner = Document(f"{document.source} (mesh)", {"meshConfig": _parsed(data["mesh"])})
        yield from mesh.check(inner, options.istio)


def _parsed(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None
