"""The traps of Istio's built-in key providers and of the annotations that carry settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from istio_kit.findings import Finding
from istio_kit.istio.releases import lacks_qat
from istio_kit.validate.codes import finding
from istio_kit.validate.documents import Document
from istio_kit.validate.walk import Json, get, mapping, mappings

_PROXY_CONFIG = "proxy.istio.io/config"
_VOLUMES = ("sidecar.istio.io/userVolume", "sidecar.istio.io/userVolumeMount")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|ms|s|m|h)", re.ASCII)
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
_MOST_MS = 999


def check(document: Document, istio: str | None) -> Iterator[Finding]:
    """Yield what is wrong with mesh settings anywhere in the document.

    ``istio`` is the version of the proxies, None when it is not known.
    """
    for path, node in mappings(document.data):
        if "meshConfig" in node:
            default = mapping(node, "meshConfig", "defaultConfig")
            yield from _provider(document, f"{path}.meshConfig.defaultConfig", default, istio)
        yield from _annotations(document, path, node, istio)
    yield from _resource(document)


def _annotations(document: Document, path: str, node: Json, istio: str | None) -> Iterator[Finding]:
    if _PROXY_CONFIG in node:
        where = f"{path}['{_PROXY_CONFIG}']"
        settings = _yaml(node[_PROXY_CONFIG])
        if settings is None:
            yield finding("MBK0219", document.at(where), "not a YAML mapping")
        else:
            yield from _provider(document, where, settings, istio)
    for name in _VOLUMES:
        if name in node and not _keyed_object(node[name]):
            yield finding("MBK0219", document.at(f"{path}['{name}']"))


def _provider(document: Document, path: str, config: Json, istio: str | None) -> Iterator[Finding]:
    provider = mapping(config, "privateKeyProvider")
    for name in ("cryptomb", "qat"):
        if name not in provider:
            continue
        where = f"{path}.privateKeyProvider.{name}"
        delay = get(provider, name, "pollDelay")
        if not 1 <= _milliseconds(delay) <= _MOST_MS:
            yield finding("MBK0215", document.at(f"{where}.pollDelay"), str(delay))
        if get(provider, name, "fallback") is True:
            yield finding("MBK0216", document.at(f"{where}.fallback"))
        if name == "qat" and istio and lacks_qat(istio):
            yield finding("MBK0217", document.at(where), f"--istio-version {istio}")


def _resource(document: Document) -> Iterator[Finding]:
    if get(document.data, "kind") == "ProxyConfig" and get(
        document.data, "spec", "privateKeyProvider"
    ):
        yield finding("MBK0218", document.at(".spec.privateKeyProvider"))


def _milliseconds(value: object) -> float:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) * _MILLISECONDS[found[2]] if found else 0.0


def _yaml(value: object) -> Json | None:
    try:
        parsed = yaml.safe_load(value) if isinstance(value, str) else value
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _keyed_object(value: object) -> bool:
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and all(isinstance(one, dict) for one in parsed.values())
