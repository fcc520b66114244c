"""The input as values; what each field means is in ``schema.json``, which also has the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Provider: TypeAlias = Literal["module", "cryptomb", "qat"]
ScopeKind: TypeAlias = Literal["mesh", "gateway", "namespace", "workload"]
DeliveryKind: TypeAlias = Literal["init-container", "image", "image-volume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Istio:
    """The installation that the objects are for."""

    version: str
    root_namespace: str
    revision: str | None = None
    proxy_image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPort:
    """A port of a gateway's proxy."""

    port: int
    protocol: Literal["HTTPS", "TLS", "HTTP", "TCP"]
    passthrough: bool
    http3: bool
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway, by how it was installed."""

    kind: Literal["chart", "gateway-api", "classic"]
    name: str
    ports: tuple[GatewayPort, ...]


@dataclass(frozen=True, slots=True)
class Outbound:
    """A service, fully qualified, and its port."""

    service: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The proxies that are meant."""

    kind: ScopeKind
    namespace: str
    mtls: Literal["STRICT", "PERMISSIVE"]
    gateway: Gateway
    labels: dict[str, str]
    outbound: tuple[Outbound, ...] = ()
    deployment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the module gets into the proxy, and where it is there."""

    kind: DeliveryKind
    image: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """Settings of the providers that are built into istio-proxy; ``poll_delay`` as written."""

    poll_delay: str
    fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The certificates' keys."""

    algorithm: str
    source: Literal["sds", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainEnvoy:
    """An Envoy without Istio."""

    form: Literal["bootstrap", "fragment"]
    side: Literal["downstream", "upstream"]
    address: str
    port: int
    admin_port: int
    upstream_address: str
    upstream_port: int
    sni: str
    certificate: str
    private_key: str
    sds_file: str
    trusted_ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """All that render and explain need to know."""

    name: str
    target: Literal["istio", "envoy", "envoy-gateway"]
    metrics: bool
    provider: Provider
    istio: Istio
    scope: Scope
    delivery: Delivery
    module: dict[str, Any]
    builtin: Builtin
    keys: Keys
    envoy: PlainEnvoy
