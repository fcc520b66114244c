"""Envoy Gateway: an EnvoyProxy that brings the module, an EnvoyPatchPolicy that turns it on."""

from __future__ import annotations

from typing import Any

from istio_kit.model.types import Input
from istio_kit.render.document import Document
from istio_kit.render.handshaker import through_control_plane
from istio_kit.render.objects import (
    has_volume,
    init_containers,
    metadata,
    mount,
    search_path_env,
    volume,
)

Json = dict[str, Any]

_GROUP = "gateway.envoyproxy.io/v1alpha1"
_IMAGE = "envoyproxy/envoy:v1.40.0"


def envoy_gateway(wanted: Input) -> list[Document]:
    """Render the pair."""
    return [_proxy(wanted), _policy(wanted)]


def _proxy(wanted: Input) -> Document:
    container: Json = {
        "image": wanted.istio.proxy_image or _IMAGE,
        "env": [search_path_env(wanted)],
    }
    deployment: Json = {"container": container}
    if has_volume(wanted):
        container["volumeMounts"] = [mount(wanted)]
        deployment["pod"] = {"volumes": [volume(wanted)]}
    if inits := init_containers(wanted):
        deployment["initContainers"] = inits
    kubernetes = {"type": "Kubernetes", "kubernetes": {"envoyDeployment": deployment}}
    body = {
        "apiVersion": _GROUP,
        "kind": "EnvoyProxy",
        "metadata": metadata(wanted, wanted.name, wanted.scope.namespace),
        "spec": {"provider": kubernetes},
    }
    return Document(
        "envoyproxy.yaml",
        "object",
        body,
        "kubectl apply -f envoyproxy.yaml",
        (
            "Refer to it from the Gateway (spec.infrastructure.parametersRef) or the GatewayClass.",
            "The image must be Envoy 1.40, whatever Envoy Gateway's own default is.",
        ),
    )


def _policy(wanted: Input) -> Document:
    scope = wanted.scope
    common = "/filter_chains/0/transport_socket/typed_config/common_tls_context"
    patch = {
        "type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": f"{scope.namespace}/{scope.gateway.name}/https",
        "operation": {
            "op": "add",
            "path": f"{common}/custom_handshaker",
            "value": through_control_plane(wanted.module),
        },
    }
    target = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": scope.gateway.name,
    }
    body = {
        "apiVersion": _GROUP,
        "kind": "EnvoyPatchPolicy",
        "metadata": metadata(wanted, wanted.name, scope.namespace),
        "spec": {"targetRef": target, "type": "JSONPatch", "jsonPatches": [patch]},
    }
    return Document(
        "envoypatchpolicy.yaml",
        "object",
        body,
        "kubectl apply -f envoypatchpolicy.yaml",
        (
            "Envoy Gateway must allow it: extensionApis.enableEnvoyPatchPolicy: true.",
            "It patches the first filter chain of the Gateway's listener named https.",
        ),
    )
