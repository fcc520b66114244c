"""Every combination of provider, scope, delivery and Istio version that is rendered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from istio_kit.istio.releases import RELEASES

Json = dict[str, Any]

IMAGE = "registry.example/proxyv2-multibuffer:1"
MODULE_IMAGE = "registry.example/multibuffer-module:1"

_GATEWAYS = ("chart", "gateway-api", "classic")
_DELIVERIES = ("init-container", "image", "image-volume")

#: Scopes of the sidecars; what they select is the same in every version.
_SIDECARS: dict[str, Json] = {
    "mesh": {"kind": "mesh"},
    "namespace": {"kind": "namespace", "namespace": "shop", "mtls": "STRICT"},
    "workload": {
        "kind": "workload",
        "namespace": "shop",
        "labels": {"app": "cart"},
        "deployment": "cart",
        "outbound": [{"service": "stock.shop.svc.cluster.local", "port": 8080}],
    },
}


def _module(version: str, scope: Json, delivery: str, **more: Any) -> Json:  # noqa: ANN401 - JSON
    return {
        "istio": {"version": version, "proxy_image": IMAGE},
        "scope": scope,
        "delivery": {"kind": delivery, "image": MODULE_IMAGE},
        **more,
    }


def _istio_module() -> Iterator[tuple[str, Json]]:
    for version in RELEASES:
        scopes = {f"gateway-{kind}": {"gateway": {"kind": kind}} for kind in _GATEWAYS}
        for name, scope in {**scopes, **_SIDECARS}.items():
            yield (
                f"module-{name}-init-container-{version}",
                _module(version, scope, "init-container"),
            )
    # How the module gets there does not depend on the version.
    for delivery in _DELIVERIES[1:]:
        scopes = {f"gateway-{kind}": {"gateway": {"kind": kind}} for kind in _GATEWAYS}
        for name, scope in {**scopes, **_SIDECARS}.items():
            yield f"module-{name}-{delivery}-1.32", _module("1.32", scope, delivery)


def _istio_builtin() -> Iterator[tuple[str, Json]]:
    scopes: dict[str, Json] = {f"gateway-{kind}": {"gateway": {"kind": kind}} for kind in _GATEWAYS}
    scopes["mesh"] = {"kind": "mesh"}
    scopes["workload"] = {"kind": "workload", "namespace": "shop", "deployment": "cart"}
    for name, scope in scopes.items():
        builtin = {"poll_delay": "2ms"}
        istio = {"version": "1.31"}
        yield (
            f"cryptomb-{name}-1.31",
            {"provider": "cryptomb", "istio": istio, "scope": scope, "builtin": builtin},
        )
    yield (
        "cryptomb-fallback-file-keys-1.31",
        {
            "provider": "cryptomb",
            "istio": {"version": "1.31"},
            "builtin": {"fallback": True},
            "keys": {"source": "file", "algorithm": "p256"},
        },
    )
    yield (
        "qat-mesh-1.30.1",
        {
            "provider": "qat",
            "istio": {"version": "1.30.1"},
            "scope": {"kind": "mesh"},
        },
    )


def _special() -> Iterator[tuple[str, Json]]:
    port: Json = {"port": 8443, "http3": True}
    passthrough: Json = {"port": 443, "passthrough": True, "hosts": ["a.example", "b.example"]}
    for version in ("1.31", "1.32"):
        scope = {"gateway": {"ports": [port, passthrough]}}
        yield f"module-gateway-http3-passthrough-{version}", _module(version, scope, "image")
    strict = {"policy": "adaptive", "strict": True, "algorithms": ["rsa2048", "p256"]}
    scope = {"kind": "mesh", "mtls": "STRICT"}
    istio = {"version": "1.31", "proxy_image": IMAGE, "revision": "canary"}
    yield (
        "module-mesh-strict-settings-1.31",
        {"istio": istio, "scope": scope, "module": strict, "delivery": {"kind": "image"}},
    )


def _others() -> Iterator[tuple[str, Json]]:
    for delivery in _DELIVERIES:
        kind = {"kind": delivery, "image": MODULE_IMAGE}
        scope = {"namespace": "edge", "gateway": {"name": "eg"}}
        yield (
            f"envoy-gateway-{delivery}",
            {"target": "envoy-gateway", "scope": scope, "delivery": kind},
        )
    for form in ("bootstrap", "fragment"):
        for side in ("downstream", "upstream"):
            for source in ("file", "sds"):
                yield (
                    f"envoy-{form}-{side}-{source}",
                    {
                        "target": "envoy",
                        "keys": {"source": source},
                        "envoy": {
                            "form": form,
                            "side": side,
                            "trusted_ca": "/etc/envoy/tls/ca.crt",
                        },
                    },
                )


CASES: dict[str, Json] = dict([*_istio_module(), *_istio_builtin(), *_special(), *_others()])
