"""The bootstrap extension: the module's metrics and admin page."""

from __future__ import annotations

import json
from typing import Any

from istio_kit import messages
from istio_kit.model.types import Input
from istio_kit.render.document import Document
from istio_kit.render.handshaker import MODULE
from istio_kit.render.objects import metadata

Json = dict[str, Any]

#: Names of the extensions, and first parts of their metrics' names.
PREFIXES = (MODULE, "cryptomb")

_EXTENSION = "envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension"
_LANES = [float(lanes) for lanes in range(1, 9)]


def bootstrap_part(wanted: Input) -> Json:
    """Return what metrics need in Envoy's bootstrap; empty when they are not wanted."""
    if not wanted.metrics:
        return {}
    extensions = [
        {
            "name": "envoy.bootstrap.dynamic_modules",
            "typed_config": {
                "@type": messages.type_url(_EXTENSION),
                "dynamic_module_config": {"name": MODULE, "metrics_namespace": name},
                "extension_name": name,
            },
        }
        for name in PREFIXES
    ]
    buckets = [
        {"match": {"prefix": prefix}, "buckets": _LANES}
        for prefix in ("multibuffer.batch_fill", "cryptomb.")
    ]
    return {
        "bootstrap_extensions": extensions,
        "stats_config": {"histogram_bucket_settings": buckets},
    }


def override_annotation(wanted: Input) -> dict[str, str]:
    """Return the annotation that puts the ConfigMap into a pod's bootstrap."""
    return {"sidecar.istio.io/bootstrapOverride": _name(wanted)} if wanted.metrics else {}


def override(wanted: Input) -> list[Document]:
    """Return the ConfigMap that the annotation names; none when metrics are not wanted."""
    if not wanted.metrics:
        return []
    part = messages.checked(messages.BOOTSTRAP, bootstrap_part(wanted))
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, _name(wanted), wanted.scope.namespace),
        "data": {"custom_bootstrap.json": json.dumps(part, indent=2) + "\n"},
    }
    text = (
        "Adds the module's metrics and admin page; pods with the annotation "
        "sidecar.istio.io/bootstrapOverride take it up when they start."
    )
    use = "kubectl apply -f bootstrap-override.yaml"
    return [Document("bootstrap-override.yaml", "object", body, use, (text,))]


def _name(wanted: Input) -> str:
    return f"{wanted.name}-bootstrap"
