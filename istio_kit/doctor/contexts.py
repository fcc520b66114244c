"""Finds the TLS contexts in the configuration that a running proxy shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

_SIDES = {"DownstreamTlsContext": "downstream", "UpstreamTlsContext": "upstream"}


@dataclass(frozen=True, slots=True)
class Context:
    """One TLS context of a listener or cluster; ``module`` is what its handshaker loads."""

    place: str
    side: str
    handshaker: str | None
    module: str | None
    key_provider: str | None


def of_dump(dump: Json) -> Iterator[Context]:
    """Yield the TLS contexts of all listeners and clusters in force."""
    for kind, resource in _resources(dump):
        for side, common in _common_contexts(resource):
            yield _context(f"{kind} {resource.get('name', 'without name')}", side, common)


def error_states(dump: Json) -> Iterator[tuple[str, str]]:
    """Yield name and reason of what the proxy refused."""
    for config in dump["configs"]:
        for kind, entries in config.items():
            for entry in entries if isinstance(entries, list) else ():
                error = entry.get("error_state") if isinstance(entry, dict) else None
                if error:
                    name = entry.get("name") or error.get("failed_configuration", {}).get("name")
                    label = kind.removeprefix("dynamic_").replace("_", " ").removesuffix("s")
                    yield f"{label} {name}", str(error.get("details", "no reason given"))


def _resources(dump: Json) -> Iterator[tuple[str, Json]]:
    """Yield what is in force: static, and dynamic as last accepted."""
    for config in dump["configs"]:
        for entry in config.get("static_listeners", ()):
            yield "listener", entry.get("listener", {})
        for entry in config.get("dynamic_listeners", ()):
            if "active_state" in entry:
                yield "listener", entry["active_state"].get("listener", {})
        for entries in ("static_clusters", "dynamic_active_clusters"):
            for entry in config.get(entries, ()):
                yield "cluster", entry.get("cluster", {})


def _common_contexts(node: object) -> Iterator[tuple[str, Json]]:
    """Yield (side, common_tls_context) of every TLS context below `node`, QUIC's included."""
    if isinstance(node, list):
        for one in node:
            yield from _common_contexts(one)
    elif isinstance(node, dict):
        side = _SIDES.get(str(node.get("@type", "")).rpartition(".")[2])
        if side:
            yield side, node.get("common_tls_context", {})
            return
        inner = node.get("downstream_tls_context")  # inside QUIC's transport there is no @type
        if isinstance(inner, dict):
            yield "downstream (QUIC)", inner.get("common_tls_context", {})
            return
        for one in node.values():
            yield from _common_contexts(one)


def _context(place: str, side: str, common: Json) -> Context:
    handshaker = common.get("custom_handshaker")
    config = (handshaker or {}).get("typed_config", {})
    if "type_url" in config:  # TypedStruct, as Istio sends it
        config = config.get("value", {})
    provider = next(
        (
            certificate["private_key_provider"].get("provider_name")
            for certificate in common.get("tls_certificates", ())
            if "private_key_provider" in certificate
        ),
        None,
    )
    return Context(
        place=place,
        side=side,
        handshaker=handshaker.get("name") if handshaker else None,
        module=config.get("dynamic_module_config", {}).get("name"),
        key_provider=provider,
    )
