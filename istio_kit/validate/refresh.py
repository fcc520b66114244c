"""Writes the trimmed JSON schemas that `validate` uses, from their published sources.

``python -m istio_kit.validate.refresh ISTIO GATEWAY_API ENVOY_GATEWAY``: the file
``manifests/charts/base/files/crd-all.gen.yaml`` of the Go module istio.io/istio, the folder
``config/crd/standard`` of sigs.k8s.io/gateway-api, and the folder of github.com/envoyproxy/gateway
with ``gateway.envoyproxy.io_envoyproxies.yaml``. Kubernetes' own kinds come from the Python
package kubernetes-validate (development group). Descriptions and what nothing refers to are left
out; ``sources.json`` beside the schemas names where each came from.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Json: TypeAlias = dict[str, Any]

_FOLDER = Path(__file__).resolve().parent / "schemas"
_KUBERNETES = "v1.35.0-local-strict"
_CORE = {
    "v1": ("ConfigMap", "Namespace", "Pod", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("DaemonSet", "Deployment", "StatefulSet"),
}
_ISTIO = ("EnvoyFilter", "Gateway", "ProxyConfig", "ServiceEntry", "DestinationRule")
_FOLDERS = {
    "gateway.networking.k8s.io": ("gateways", "gatewayclasses"),
    "gateway.envoyproxy.io": ("envoyproxies", "envoypatchpolicies"),
}
# What says nothing about the form of a value, or what jsonschema does not know.
_DROPPED = ("description", "example", "format", "default", "title", "$schema")


def main() -> None:
    """Write all schemas."""
    istio, *folders = map(Path, sys.argv[1:])
    chosen = [
        (_origin(istio), one)
        for one in yaml.safe_load_all(istio.read_text())
        if one and one["spec"]["names"]["kind"] in _ISTIO
    ]
    for folder, (group, names) in zip(folders, _FOLDERS.items(), strict=True):
        for name in names:
            path = folder / f"{group}_{name}.yaml"
            chosen.append((_origin(path), yaml.safe_load(path.read_text())))
    sources: dict[str, str] = {}
    for source, definition in chosen:
        _add_transport_socket(definition)
        for name, schema in _of_definition(definition):
            _write(name, schema)
            sources[name] = source
    version = importlib.metadata.version("kubernetes-validate")
    release = _KUBERNETES[1:].partition("-")[0]
    origin = f"Kubernetes {release} (kubernetes-validate {version})"
    for name, schema in _of_kubernetes():
        _write(name, schema)
        sources[name] = origin
    text = json.dumps(dict(sorted(sources.items())), indent=1)
    (_FOLDER / "sources.json").write_text(text + "\n")


def _add_transport_socket(definition: Json) -> None:
    """Add the match of Istio 1.32 that no published tree of its API has yet."""
    if definition["spec"]["names"]["kind"] != "EnvoyFilter":
        return
    node = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for key in ("spec", "configPatches", "match", "listener", "filterChain"):
        node = node["properties"][key]
        node = node.get("items", node)
    node["properties"].setdefault("transportSocket", {"type": "string"})


def _origin(path: Path) -> str:
    """Return module and version as the Go module cache's folder names tell them."""
    found = re.search(
        r"/((?:[^/]+\.[a-z]+/)(?:[^/]+/)*[^/@]+)@([^/]+)", str(path).partition("/mod")[2]
    )
    return f"Go module {found[1]} {found[2]}" if found else path.name


def _of_definition(definition: Json) -> Iterator[tuple[str, Json]]:
    spec = definition["spec"]
    for version in spec["versions"]:
        schema = _trimmed(version["schema"]["openAPIV3Schema"])
        # As the API server does for every custom resource.
        schema["properties"] |= {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
        schema["required"] = sorted({*schema.get("required", ()), "metadata"})
        yield _name(f"{spec['group']}/{version['name']}", spec["names"]["kind"]), _closed(schema)


def _of_kubernetes() -> Iterator[tuple[str, Json]]:
    found = importlib.util.find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        raise SystemExit("install kubernetes-validate (development group)")
    folder = Path(found.origin).parent / "kubernetes-json-schema" / _KUBERNETES
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    for api, kinds in _CORE.items():
        group = "" if api == "v1" else "-apps"
        for kind in kinds:
            schema = _trimmed(json.loads((folder / f"{kind.lower()}{group}-v1.json").read_text()))
            schema["$defs"] = _reachable(schema, definitions)
            text = json.dumps(schema).replace("/api/_definitions.json#", "#")
            yield _name(api, kind), json.loads(text)


def _reachable(schema: Json, definitions: Json) -> Json:
    found: Json = {}
    waiting = [schema]
    while waiting:
        for name in re.findall(r"#/\$defs/([^\"]+)\"", json.dumps(waiting.pop())):
            if name not in found:
                found[name] = _trimmed(definitions[name])
                waiting.append(found[name])
    return found


def _trimmed(node: Any, *, names: bool = False) -> Any:  # noqa: ANN401 - JSON
    """Drop annotations; ``names``: the keys of `node` are fields, not keywords."""
    if isinstance(node, list):
        return [_trimmed(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {
        key: _trimmed(value, names=key in ("properties", "$defs") and not names)
        for key, value in node.items()
        if names or not (key in _DROPPED or (key.startswith("x-kubernetes-") and key != _FREE))
    }
    if not names and kept.pop("nullable", False) and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    return kept


_FREE = "x-kubernetes-preserve-unknown-fields"


def _closed(node: Any, *, names: bool = False) -> Any:  # noqa: ANN401 - JSON
    """Refuse unknown fields, which an API server would drop silently."""
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    closed = {
        key: value
        if key in ("oneOf", "anyOf", "not", "allOf")
        else _closed(value, names=key == "properties" and not names)
        for key, value in node.items()
        if key != _FREE
    }
    free = node.get(_FREE) or "additionalProperties" in node
    if not names and isinstance(node.get("properties"), dict) and not free:
        closed["additionalProperties"] = False
    return closed


def _name(api: str, kind: str) -> str:
    return f"{api.replace('/', '_')}_{kind}"


def _write(name: str, schema: Json) -> None:
    text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
    (_FOLDER / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
