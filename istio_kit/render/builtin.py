"""The providers that istio-proxy has built in: cryptomb and qat."""

from __future__ import annotations

from typing import Any

from istio_kit.model.types import Input
from istio_kit.render.document import Document
from istio_kit.render.objects import builtin_provider, proxy_config_annotation, stats_matcher

Json = dict[str, Any]

_RESTART = "It is read when a proxy starts: restart the pods."


def builtin(wanted: Input) -> list[Document]:
    """Render for a scope; there is none for a namespace (see refuse.py)."""
    config = {**builtin_provider(wanted), **stats_matcher(wanted)}
    scope = wanted.scope
    annotations = proxy_config_annotation(config)
    why = ("privateKeyProvider is a field of ProxyConfig, but not of the resource of that name.",)
    if scope.kind == "mesh":
        return [
            Document(
                "values-istiod.yaml",
                "helm values",
                {"meshConfig": {"defaultConfig": config}},
                "helm upgrade istiod istio/istiod --reuse-values -f values-istiod.yaml",
                (*why, _RESTART),
            )
        ]
    if scope.kind == "gateway" and scope.gateway.kind == "chart":
        return [
            Document(
                "values-gateway.yaml",
                "helm values",
                {"podAnnotations": annotations},
                f"helm upgrade {scope.gateway.name} istio/gateway -n {scope.namespace} "
                "--reuse-values -f values-gateway.yaml",
                (*why, _RESTART),
            )
        ]
    if scope.kind == "gateway" and scope.gateway.kind == "gateway-api":
        return [
            Document(
                "patch-gateway.yaml",
                "patch",
                {"spec": {"infrastructure": {"annotations": annotations}}},
                f"kubectl patch gateways.gateway.networking.k8s.io {scope.gateway.name} "
                f"-n {scope.namespace} --type merge --patch-file patch-gateway.yaml",
                (*why, "Istio copies the annotations of infrastructure to the gateway's pods."),
            )
        ]
    default = scope.gateway.name if scope.kind == "gateway" else "NAME"
    return [
        Document(
            "patch-deployment.yaml",
            "patch",
            {"spec": {"template": {"metadata": {"annotations": annotations}}}},
            f"kubectl patch deployment {scope.deployment or default} -n {scope.namespace} "
            "--type strategic --patch-file patch-deployment.yaml",
            (*why, _RESTART),
        )
    ]
