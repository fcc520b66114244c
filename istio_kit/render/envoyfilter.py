"""The EnvoyFilter: which filter chains and clusters are patched, and by what they are matched.

A patch that matches too much does harm: a plaintext chain becomes broken TLS, a QUIC chain loses
its transport socket, a plaintext cluster turns to TLS. So every patch is matched as narrowly as the
Istio version allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from istio_kit import messages
from istio_kit.istio.releases import IstioRelease, release_of, version_guard
from istio_kit.model.types import GatewayPort, Input
from istio_kit.render.document import Document
from istio_kit.render.handshaker import through_control_plane
from istio_kit.render.objects import metadata

Json = dict[str, Any]

TERMINATING = ("HTTPS", "TLS")
# What the peers of a PERMISSIVE inbound listener offer when they speak Istio's mTLS.
_MTLS_PROTOCOLS = ("istio", "istio-http/1.1")


def envoy_filter(wanted: Input) -> Document:
    """Render the EnvoyFilter of a scope."""
    release = release_of(wanted.istio.version)
    if release is None:
        raise ValueError("the version was to be checked before")
    scope = wanted.scope
    namespace = wanted.istio.root_namespace if scope.kind == "mesh" else scope.namespace
    spec: Json = {**_attachment(wanted), "priority": 10}
    spec["configPatches"] = [
        {"applyTo": kind, "match": match, "patch": {"operation": "MERGE", "value": value}}
        for kind, match, value in _patches(wanted, release)
    ]
    body = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": metadata(wanted, wanted.name, namespace),
        "spec": spec,
    }
    return Document(
        "envoyfilter.yaml",
        "object",
        body,
        "kubectl apply -f envoyfilter.yaml",
        tuple(_why(wanted, release, namespace)),
    )


def _attachment(wanted: Input) -> Json:
    scope = wanted.scope
    if scope.kind == "gateway" and scope.gateway.kind == "gateway-api":
        reference = {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": scope.gateway.name,
        }
        return {"targetRefs": [reference]}
    if scope.kind == "gateway":
        # The charts label the pods so, unless they were told otherwise.
        default = {"istio": scope.gateway.name.removeprefix("istio-")}
        return {"workloadSelector": {"labels": scope.labels or default}}
    if scope.kind == "workload":
        return {"workloadSelector": {"labels": scope.labels}}
    return {}


def _patches(wanted: Input, release: IstioRelease) -> Iterator[tuple[str, Json, Json]]:
    guard = {"proxyVersion": version_guard(release)}
    chain_value = _socket(messages.DOWNSTREAM, wanted.module)
    if wanted.scope.kind == "gateway":
        for port in wanted.scope.gateway.ports:
            for listener in _gateway_listeners(port, release):
                match = {"context": "GATEWAY", "proxy": guard, "listener": listener}
                yield "FILTER_CHAIN", match, chain_value
        return
    for chain in _inbound_chains(wanted, release):
        listener = {"name": "virtualInbound", "filterChain": chain}
        match = {"context": "SIDECAR_INBOUND", "proxy": guard, "listener": listener}
        yield "FILTER_CHAIN", match, chain_value
    for one in wanted.scope.outbound:
        cluster = {"service": one.service, "portNumber": one.port}
        match = {"context": "SIDECAR_OUTBOUND", "proxy": guard, "cluster": cluster}
        yield "CLUSTER", match, _socket(messages.UPSTREAM, wanted.module)


def _gateway_listeners(port: GatewayPort, release: IstioRelease) -> Iterator[Json]:
    if release.matches_transport_socket:
        chain = {"transportSocket": messages.TLS_SOCKET}
        yield {"portNumber": port.port, "filterChain": chain}
        return
    # A QUIC listener has the same port number, but another name.
    where: Json = {"name": f"0.0.0.0_{port.port}"} if port.http3 else {"portNumber": port.port}
    if not port.hosts:
        yield where
    for host in port.hosts:
        yield {**where, "filterChain": {"sni": host}}


def _inbound_chains(wanted: Input, release: IstioRelease) -> list[Json]:
    if release.matches_transport_socket:
        return [{"transportSocket": messages.TLS_SOCKET}]
    if wanted.scope.mtls == "STRICT":
        return [{"transportProtocol": "tls"}]
    # TLS that is not Istio's passes through a PERMISSIVE listener: those chains have no socket.
    return [{"applicationProtocols": protocol} for protocol in _MTLS_PROTOCOLS]


def _socket(context: str, settings: Json) -> Json:
    inner = messages.checked(
        context, {"common_tls_context": {"custom_handshaker": through_control_plane(settings)}}
    )
    typed = {"@type": messages.type_url(context), **inner}
    return {"transport_socket": {"name": messages.TLS_SOCKET, "typed_config": typed}}


def _why(wanted: Input, release: IstioRelease, namespace: str) -> Iterator[str]:
    scope = wanted.scope
    if scope.kind == "mesh":
        yield f"In the root namespace {namespace}, without a selector: all sidecars of the mesh."
    elif scope.kind == "namespace":
        yield f"Without a selector: all sidecars of the namespace {namespace}."
    elif scope.kind == "gateway" and scope.gateway.kind == "gateway-api":
        yield f"Attached to the Gateway {scope.gateway.name} (targetRefs)."
    else:
        yield "Attached by the pods' labels; a selector reaches only its own namespace."
    yield "MERGE adds the handshaker to the transport socket: certificates, SDS and ALPN stay."
    yield "The handshaker is wrapped in a TypedStruct: istiod does not know its type."
    yield f"proxyVersion limits it to proxies of {release.minor}; others ignore it."
    if release.matches_transport_socket:
        yield "Filter chains are matched by transportSocket: no plaintext or QUIC chain is hit."
    elif scope.kind == "gateway":
        yield "Before 1.32 chains cannot be matched by their socket: by port, name or SNI instead."
    elif scope.mtls == "STRICT":
        yield "mTLS is STRICT: every chain with transport_protocol tls terminates it."
    else:
        yield "mTLS is PERMISSIVE: only chains that negotiate Istio's own ALPN terminate TLS."
    for one in scope.outbound:
        yield f"The client side to {one.service}:{one.port}: that cluster must use mTLS already."
