"""The traps of EnvoyFilter: what istiod's merge does, and what it silently leaves out.

Source of the facts: Istio's listener_patch.go and cluster_patch.go, and runs of its merge.
"""

from __future__ import annotations

from collections.abc import Iterator

from istio_kit import messages
from istio_kit.findings import Finding
from istio_kit.istio.releases import RELEASES
from istio_kit.validate import typed
from istio_kit.validate.codes import finding
from istio_kit.validate.documents import Document
from istio_kit.validate.walk import Json, get, mapping, mappings

_MESSAGES = {
    "LISTENER": "envoy.config.listener.v3.Listener",
    "FILTER_CHAIN": "envoy.config.listener.v3.FilterChain",
    "CLUSTER": "envoy.config.cluster.v3.Cluster",
}
_CONTEXTS = {"FILTER_CHAIN": messages.DOWNSTREAM, "CLUSTER": messages.UPSTREAM}
_APPENDED = ("alpn_protocols", "tls_certificates", "tls_certificate_sds_secret_configs")
_NARROWING = ("sni", "transportProtocol", "applicationProtocols", "transportSocket", "name")


def check(document: Document) -> Iterator[Finding]:
    """Yield what is wrong with the patches of an EnvoyFilter."""
    spec = mapping(document.data, "spec")
    if spec.get("workloadSelector") and spec.get("targetRefs"):
        yield finding("MBK0224", document.at(".spec.targetRefs"))
    patches = spec.get("configPatches")
    for number, patch in enumerate(patches if isinstance(patches, list) else ()):
        if isinstance(patch, dict):
            yield from _patch(document, f".spec.configPatches[{number}]", patch)


def _patch(document: Document, path: str, patch: Json) -> Iterator[Finding]:
    kind = str(patch.get("applyTo"))
    if kind == "BOOTSTRAP":
        yield finding("MBK0208", document.at(f"{path}.applyTo"))
        return
    if get(patch, "match", "context") == "WAYPOINT":
        yield finding("MBK0225", document.at(f"{path}.match.context"))
    value, where = get(patch, "patch", "value"), f"{path}.patch.value"
    if value is not None:
        if kind in _MESSAGES:
            yield from typed.message(document, where, _MESSAGES[kind], value)
        else:
            yield from typed.inside(document, where, value)
        yield from _types(document, where, value)
    yield from _old_match(document, path, patch)
    merged = get(patch, "patch", "operation") == "MERGE"
    if merged and kind in _CONTEXTS and mapping(value, "transport_socket"):
        yield from _socket(document, path, patch, _CONTEXTS[kind])


def _types(document: Document, where: str, value: object) -> Iterator[Finding]:
    """Check the types that istiod has to resolve."""
    for place, node in mappings(value, where):
        kind = typed.type_name(node.get("@type"))
        if kind == messages.HANDSHAKER:
            yield finding("MBK0206", document.at(f"{place}['@type']"))
        inner = typed.type_name(node.get("type_url"))
        if kind in messages.TYPED_STRUCTS and inner in (messages.DOWNSTREAM, messages.UPSTREAM):
            yield finding("MBK0207", document.at(f"{place}.type_url"))


def _old_match(document: Document, path: str, patch: Json) -> Iterator[Finding]:
    if not get(patch, "match", "listener", "filterChain", "transportSocket"):
        return
    guard = get(patch, "match", "proxy", "proxyVersion")
    old = [
        minor
        for minor, release in RELEASES.items()
        if not release.matches_transport_socket
        and isinstance(guard, str)
        and guard.lstrip("^").replace("\\", "").startswith(minor)
    ]
    if old:
        where = f"{path}.match.listener.filterChain.transportSocket"
        yield finding("MBK0214", document.at(where), f"the patch is for {old[0]}")


def _socket(document: Document, path: str, patch: Json, expected: str) -> Iterator[Finding]:
    where = f"{path}.patch.value.transport_socket"
    socket = mapping(patch, "patch", "value", "transport_socket")
    context = mapping(socket, "typed_config")
    name = typed.type_name(context.get("@type"))
    if name in _CONTEXTS.values() and name != expected:
        yield finding("MBK0211", document.at(f"{where}.typed_config['@type']"), name)
    if socket.get("name") != messages.TLS_SOCKET:
        yield finding("MBK0212", document.at(f"{where}.name"), str(socket.get("name")))
    for field in _APPENDED:
        if get(context, "common_tls_context", field):
            place = f"{where}.typed_config.common_tls_context.{field}"
            yield finding("MBK0213", document.at(place))
    if patch.get("applyTo") == "CLUSTER":
        yield from _cluster_match(document, path, patch)
    else:
        yield from _chain_match(document, path, patch)


def _cluster_match(document: Document, path: str, patch: Json) -> Iterator[Finding]:
    cluster = mapping(patch, "match", "cluster")
    if not (cluster.get("name") or (cluster.get("service") and cluster.get("portNumber"))):
        yield finding("MBK0210", document.at(f"{path}.match"))


def _chain_match(document: Document, path: str, patch: Json) -> Iterator[Finding]:
    listener = mapping(patch, "match", "listener")
    chain = mapping(listener, "filterChain")
    narrowed = any(chain.get(field) for field in _NARROWING)
    context = get(patch, "match", "context")
    if context == "GATEWAY":
        # A gateway's port is all HTTP or all TLS: naming it is enough.
        if not (narrowed or listener.get("portNumber") or listener.get("name")):
            yield finding("MBK0209", document.at(f"{path}.match"))
        elif not narrowed and not listener.get("name"):
            yield finding("MBK0223", document.at(f"{path}.match.listener.portNumber"))
    elif not narrowed:
        # An inbound port has plaintext chains beside the TLS ones.
        yield finding("MBK0209", document.at(f"{path}.match"))
