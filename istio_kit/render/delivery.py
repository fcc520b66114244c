"""Brings the module into the proxies, and tells them where it is: one way for each scope."""

from __future__ import annotations

import json
from typing import Any

from istio_kit.model.types import Input
from istio_kit.render.document import Document, dump
from istio_kit.render.handshaker import SEARCH_PATH
from istio_kit.render.metrics import override_annotation
from istio_kit.render.objects import (
    VOLUME,
    has_volume,
    init_containers,
    metadata,
    mount,
    pod_with_module,
    proxy_config_annotation,
    proxy_metadata,
    search_path_env,
    stats_matcher,
    volume,
)

Json = dict[str, Any]

_IMAGE = "sidecar.istio.io/proxyImage"


def module_delivery(wanted: Input) -> list[Document]:
    """Render what the module's delivery needs besides the EnvoyFilter."""
    scope = wanted.scope
    if scope.kind == "mesh":
        return [_istiod_values(wanted)]
    if scope.kind == "gateway":
        by_kind = {"chart": _chart_values, "gateway-api": _gateway_api, "classic": _classic}
        return by_kind[scope.gateway.kind](wanted)
    documents = [_proxy_config(wanted)] if scope.kind == "namespace" else []
    return [*documents, _sidecar_patch(wanted)]


def _istiod_values(wanted: Input) -> Document:
    config = {**proxy_metadata(wanted), **stats_matcher(wanted)}
    body: Json = {
        "meshConfig": {"defaultConfig": config},
        "global": {"proxy": {"image": wanted.istio.proxy_image}},
    }
    why = [
        "proxyMetadata becomes an environment variable of every proxy; pods take it up at restart.",
        "global.proxy.image: Istio's own proxy lacks the handshaker extension.",
    ]
    if has_volume(wanted):
        spec = pod_with_module(wanted, {"name": "istio-proxy"})
        body["sidecarInjectorWebhook"] = {
            "defaultTemplates": ["sidecar", wanted.name],
            "templates": {wanted.name: dump({"spec": spec})},
        }
        why.append("An injection template of its own adds the module's volume to every sidecar.")
    return Document(
        "values-istiod.yaml",
        "helm values",
        body,
        "helm upgrade istiod istio/istiod --reuse-values -f values-istiod.yaml",
        tuple(why),
    )


def _chart_values(wanted: Input) -> list[Document]:
    annotations = {_IMAGE: wanted.istio.proxy_image}
    annotations |= proxy_config_annotation(stats_matcher(wanted)) | override_annotation(wanted)
    body: Json = {"podAnnotations": annotations, "env": {SEARCH_PATH: wanted.delivery.path}}
    if inits := init_containers(wanted):
        body["initContainers"] = inits
    if has_volume(wanted):
        body["volumes"] = [volume(wanted)]
        body["volumeMounts"] = [mount(wanted)]
    name, namespace = wanted.scope.gateway.name, wanted.scope.namespace
    why = ("The chart has fields for all of it; the userVolume annotations do not work with it.",)
    return [
        Document(
            "values-gateway.yaml",
            "helm values",
            body,
            f"helm upgrade {name} istio/gateway -n {namespace} --reuse-values "
            "-f values-gateway.yaml",
            why,
        )
    ]


def _proxy_container(wanted: Input) -> Json:
    return {
        "name": "istio-proxy",
        "image": wanted.istio.proxy_image,
        "env": [search_path_env(wanted)],
    }


def _gateway_api(wanted: Input) -> list[Document]:
    name, namespace = f"{wanted.name}-gateway", wanted.scope.namespace
    template: Json = {
        "metadata": {"annotations": proxy_config_annotation(stats_matcher(wanted))},
        "spec": pod_with_module(wanted, _proxy_container(wanted)),
    }
    options = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, name, namespace),
        "data": {"deployment": dump({"spec": {"template": template}})},
    }
    reference = {"group": "", "kind": "ConfigMap", "name": name}
    patch = {"spec": {"infrastructure": {"parametersRef": reference}}}
    return [
        Document(
            "gateway-options.yaml",
            "object",
            options,
            "kubectl apply -f gateway-options.yaml",
            (
                "Istio merges it into the Deployment that it makes for the Gateway.",
                "proxyMetadata in an annotation would not become an environment variable here.",
            ),
        ),
        _patch(
            "patch-gateway.yaml",
            patch,
            f"gateways.gateway.networking.k8s.io {wanted.scope.gateway.name}",
            namespace,
            "Points the Gateway to the ConfigMap, which must be in its namespace.",
        ),
    ]


def _classic(wanted: Input) -> list[Document]:
    annotations = proxy_config_annotation(stats_matcher(wanted)) | override_annotation(wanted)
    template: Json = {
        "metadata": {"annotations": annotations},
        "spec": pod_with_module(wanted, _proxy_container(wanted)),
    }
    return [
        _patch(
            "patch-deployment.yaml",
            {"spec": {"template": template}},
            f"deployment {wanted.scope.deployment or wanted.scope.gateway.name}",
            wanted.scope.namespace,
            "A strategic-merge patch; an operator that owns the Deployment may undo it.",
        )
    ]


def _proxy_config(wanted: Input) -> Document:
    body = {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ProxyConfig",
        "metadata": metadata(wanted, wanted.name, wanted.scope.namespace),
        "spec": {"environmentVariables": {SEARCH_PATH: wanted.delivery.path}},
    }
    why = ("Of what is needed it can carry only this; pods take it up at restart.",)
    use = "kubectl apply -f proxyconfig.yaml"
    return Document("proxyconfig.yaml", "object", body, use, why)


def _sidecar_patch(wanted: Input) -> Document:
    config = stats_matcher(wanted)
    if wanted.scope.kind == "workload":
        config = {**proxy_metadata(wanted), **config}
    annotations = {_IMAGE: wanted.istio.proxy_image, **proxy_config_annotation(config)}
    annotations |= override_annotation(wanted)
    spec: Json = {}
    if has_volume(wanted):
        described = {VOLUME: {"mountPath": wanted.delivery.path, "readOnly": True}}
        annotations["sidecar.istio.io/userVolumeMount"] = json.dumps(
            described, separators=(",", ":")
        )
        spec["volumes"] = [volume(wanted)]
    if inits := init_containers(wanted):
        spec["initContainers"] = inits
    template: Json = {"metadata": {"annotations": annotations}}
    if spec:
        template["spec"] = spec
    return _patch(
        "patch-deployment.yaml",
        {"spec": {"template": template}},
        f"deployment {wanted.scope.deployment or 'NAME'}",
        wanted.scope.namespace,
        "A strategic-merge patch of the pod template, for kubectl or kustomize.",
        "The volume is in the pod itself, because an init container needs it before injection.",
    )


def _patch(file: str, body: Json, target: str, namespace: str, *why: str) -> Document:
    kind = "merge" if target.startswith("gateways.") else "strategic"
    use = f"kubectl patch {target} -n {namespace} --type {kind} --patch-file {file}"
    return Document(file, "patch", body, use, why)
