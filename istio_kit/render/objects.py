"""Pieces of Kubernetes objects that several documents have."""

from __future__ import annotations

from typing import Any

from istio_kit.model.types import Input
from istio_kit.render.document import dump
from istio_kit.render.handshaker import SEARCH_PATH

Json = dict[str, Any]

VOLUME = "multibuffer"
_STATS = {
    "module": ("dynamicmodulescustom", "listener"),
    "cryptomb": ("cryptomb", "listener"),
    "qat": ("listener",),
}
_METRICS = ("multibuffer", "cryptomb", "listener")


def metadata(wanted: Input, name: str, namespace: str) -> Json:
    """Return the metadata of an object of ours."""
    labels = {
        "app.kubernetes.io/managed-by": "istio_kit",
        "app.kubernetes.io/name": wanted.name,
        "app.kubernetes.io/part-of": "multibuffer-tls-kit",
    }
    if wanted.istio.revision:
        labels["istio.io/rev"] = wanted.istio.revision
    return {"name": name, "namespace": namespace, "labels": labels}


def stats_matcher(wanted: Input) -> Json:
    """Return the part of a ProxyConfig without which Istio hides these statistics."""
    prefixes = _METRICS if wanted.metrics else _STATS[wanted.provider]
    return {"proxyStatsMatcher": {"inclusionPrefixes": list(prefixes)}}


def proxy_metadata(wanted: Input) -> Json:
    """Return the part of a ProxyConfig that becomes an environment variable of the proxy."""
    return {"proxyMetadata": {SEARCH_PATH: wanted.delivery.path}}


def builtin_provider(wanted: Input) -> Json:
    """Return the part of a ProxyConfig that turns on cryptomb or qat."""
    settings: Json = {"pollDelay": wanted.builtin.poll_delay}
    if wanted.builtin.fallback:
        settings["fallback"] = True
    return {"privateKeyProvider": {wanted.provider: settings}}


def proxy_config_annotation(config: Json) -> Json:
    """Return the pod annotation that carries a ProxyConfig."""
    return {"proxy.istio.io/config": dump(config)}


def search_path_env(wanted: Input) -> Json:
    """Return the proxy's environment variable, as an item of ``env``."""
    return {"name": SEARCH_PATH, "value": wanted.delivery.path}


def mount(wanted: Input, *, writable: bool = False) -> Json:
    """Return the mount of the module's volume."""
    found: Json = {"name": VOLUME, "mountPath": wanted.delivery.path}
    return found if writable else {**found, "readOnly": True}


def volume(wanted: Input) -> Json:
    """Return the volume that the module is in."""
    if wanted.delivery.kind == "image-volume":
        image = {"reference": wanted.delivery.image, "pullPolicy": "IfNotPresent"}
        return {"name": VOLUME, "image": image}
    return {"name": VOLUME, "emptyDir": {}}


def init_containers(wanted: Input) -> list[Json]:
    """Return the container that copies the module into the volume; none for other deliveries."""
    if wanted.delivery.kind != "init-container":
        return []
    return [
        {
            "name": "multibuffer-module",
            "image": wanted.delivery.image,
            "args": [wanted.delivery.path],
            "volumeMounts": [mount(wanted, writable=True)],
            "resources": {
                "requests": {"cpu": "10m", "memory": "16Mi"},
                "limits": {"cpu": "100m", "memory": "32Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "runAsGroup": 1337,
                "runAsNonRoot": True,
                "runAsUser": 1337,
            },
        }
    ]


def has_volume(wanted: Input) -> bool:
    """Whether the module comes in a volume, and not inside the proxy's image."""
    return wanted.delivery.kind != "image"


def pod_with_module(wanted: Input, container: Json) -> Json:
    """Return the parts of a pod's spec that bring the module to a proxy `container`."""
    spec: Json = {}
    if inits := init_containers(wanted):
        spec["initContainers"] = inits
    if has_volume(wanted):
        container = {**container, "volumeMounts": [mount(wanted)]}
    spec["containers"] = [container]
    if has_volume(wanted):
        spec["volumes"] = [volume(wanted)]
    return spec
