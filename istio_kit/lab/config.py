"""Builds Envoy bootstrap configurations as Python dictionaries.

Every listener gets port 0 and its own name as stat prefix: `EnvoyProcess` reads the real port
back, and the counters of listener `x` are called `listener.x.…`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from istio_kit.lab.certs import Certificate

Json: TypeAlias = dict[str, Any]
TlsVersion: TypeAlias = Literal["1.2", "1.3"]

_TYPE = "type.googleapis.com/"
_TLS = _TYPE + "envoy.extensions.transport_sockets.tls.v3."
_HANDSHAKER = (
    _TYPE + "envoy.extensions.transport_sockets.tls.handshakers.dynamic_modules.v3."
    "DynamicModuleTlsHandshaker"
)
_HTTP_MANAGER = (
    _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_MAX_CONNECTIONS = (
    _TYPE + "envoy.extensions.resource_monitors.downstream_connections.v3."
    "DownstreamConnectionsConfig"
)


@dataclass(frozen=True, slots=True)
class Module:
    """The dynamic module as TLS handshaker."""

    settings: Mapping[str, Any] | str = field(default_factory=dict)
    """The module's configuration; a string is handed over as it is (for malformed ones)."""
    name: str = "multibuffer"

    def as_dict(self) -> Json:
        """Return the TypedExtensionConfig for `custom_handshaker`."""
        kind = "StringValue" if isinstance(self.settings, str) else "Struct"
        value = self.settings if isinstance(self.settings, str) else dict(self.settings)
        return {
            "name": "envoy.tls.handshakers.dynamic_modules",
            "typed_config": {
                "@type": _HANDSHAKER,
                "dynamic_module_config": {"name": self.name},
                "handshaker_name": self.name,
                "handshaker_config": {"@type": f"{_TYPE}google.protobuf.{kind}", "value": value},
            },
        }


_EXTENSION = _TYPE + "envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension"


@dataclass(frozen=True, slots=True)
class Metrics:
    """The dynamic module as bootstrap extension: statistics and the page `/multibuffer`."""

    module: str = "multibuffer"
    extensions: Sequence[str] = ("multibuffer", "cryptomb")
    """Each puts its metrics under its own name; `cryptomb` has those of Envoy's CryptoMB."""

    def as_list(self) -> list[Json]:
        """Return the TypedExtensionConfigs for `bootstrap_extensions`."""
        return [
            {
                "name": "envoy.bootstrap.dynamic_modules",
                "typed_config": {
                    "@type": _EXTENSION,
                    "dynamic_module_config": {"name": self.module, "metrics_namespace": name},
                    "extension_name": name,
                },
            }
            for name in self.extensions
        ]

    def buckets(self) -> list[Json]:
        """Return the HistogramBucketSettings: one for each number of lanes."""
        lanes = [float(count) for count in range(1, 9)]
        prefixes = ("multibuffer.batch_fill", "cryptomb.")
        return [{"match": {"prefix": prefix}, "buckets": lanes} for prefix in prefixes]


@dataclass(frozen=True, slots=True)
class Secret:
    """A certificate that Envoy watches in an SDS file (see `write_secret`)."""

    name: str
    file: Path

    def as_dict(self) -> Json:
        """Return the SdsSecretConfig."""
        source = {"path_config_source": {"path": str(self.file)}, "resource_api_version": "V3"}
        return {"name": self.name, "sds_config": source}


def write_secret(secret: Secret, certificate: Certificate) -> None:
    """Put `certificate` into the SDS file, atomically; a running Envoy then takes it up.

    The PEM text is inlined: one rename changes certificate and key together.
    """
    resource = {
        "@type": f"{_TLS}Secret",
        "name": secret.name,
        "tls_certificate": {
            "certificate_chain": {"inline_string": certificate.cert.read_text()},
            "private_key": {"inline_string": certificate.key.read_text()},
        },
    }
    fresh = secret.file.with_name(secret.file.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({"resources": [resource]}, stream)
    fresh.replace(secret.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tls:
    """What both sides of TLS have in common."""

    certificates: Sequence[Certificate] = ()
    secrets: Sequence[Secret] = ()
    module: Module | None = None
    trusted_ca: Path | None = None
    """Authority that the peer's certificate must come from; None: it is not checked."""
    min_version: TlsVersion | None = None
    max_version: TlsVersion | None = None
    cipher_suites: Sequence[str] = ()
    """OpenSSL names, TLS 1.2 only."""
    curves: Sequence[str] = ()
    signature_algorithms: Sequence[str] = ()

    def _common(self) -> Json:
        params = {
            "tls_minimum_protocol_version": _version(self.min_version),
            "tls_maximum_protocol_version": _version(self.max_version),
            "cipher_suites": list(self.cipher_suites),
            "ecdh_curves": list(self.curves),
            "signature_algorithms": list(self.signature_algorithms),
        }
        common: Json = {
            "tls_params": {name: value for name, value in params.items() if value},
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificate.cert)},
                    "private_key": {"filename": str(certificate.key)},
                }
                for certificate in self.certificates
            ],
            "tls_certificate_sds_secret_configs": [secret.as_dict() for secret in self.secrets],
        }
        if self.trusted_ca:
            common["validation_context"] = {"trusted_ca": {"filename": str(self.trusted_ca)}}
        if self.module:
            common["custom_handshaker"] = self.module.as_dict()
        return common


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls(_Tls):
    """The server side, for a listener."""

    require_client_certificate: bool = False
    stateless_resumption: bool = True
    stateful_resumption: bool = True

    def as_dict(self) -> Json:
        """Return the transport socket."""
        context = {
            "common_tls_context": self._common(),
            "require_client_certificate": self.require_client_certificate,
            "disable_stateless_session_resumption": not self.stateless_resumption,
            "disable_stateful_session_resumption": not self.stateful_resumption,
        }
        return _transport_socket("DownstreamTlsContext", context)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls(_Tls):
    """The client side, for a cluster."""

    sni: str = "localhost"
    max_session_keys: int = 0
    """Sessions kept for resumption; with 0 every connection is a full handshake."""

    def as_dict(self) -> Json:
        """Return the transport socket."""
        context = {
            "common_tls_context": self._common(),
            "sni": self.sni,
            "max_session_keys": self.max_session_keys,
        }
        return _transport_socket("UpstreamTlsContext", context)


@dataclass(frozen=True, slots=True)
class Respond:
    """HTTP connection manager that answers by itself."""

    status: int = 200
    body: str = "ok\n"
    close_at_once: bool = False
    """Close a connection right after a last response. Envoy leaves that to the client for a second
    when it answered before the request was complete, and Fortio leaves it to Envoy."""

    def as_filter(self) -> Json:
        """Return the network filter."""
        response: Json = {"status": self.status}
        if self.body:
            response["body"] = {"inline_string": self.body}
        manager = _http_manager({"direct_response": response})
        if self.close_at_once:
            manager["typed_config"]["delayed_close_timeout"] = "0s"
        return manager


@dataclass(frozen=True, slots=True)
class RouteTo:
    """HTTP connection manager that routes every request to a cluster."""

    cluster: str

    def as_filter(self) -> Json:
        """Return the network filter."""
        return _http_manager({"route": {"cluster": self.cluster}})


@dataclass(frozen=True, slots=True)
class TcpProxy:
    """Byte-wise proxy to a cluster."""

    cluster: str

    def as_filter(self) -> Json:
        """Return the network filter."""
        return {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": f"{_TYPE}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tcp",
                "cluster": self.cluster,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One filter chain of a listener."""

    tls: ServerTls | None = None
    app: Respond | RouteTo | TcpProxy = Respond()
    server_names: Sequence[str] = ()
    """SNI names that select this chain; none: it is the one for all others."""

    def as_dict(self) -> Json:
        """Return the FilterChain."""
        chain: Json = {"filters": [self.app.as_filter()]}
        if self.tls:
            chain["transport_socket"] = self.tls.as_dict()
        if self.server_names:
            chain["filter_chain_match"] = {"server_names": list(self.server_names)}
        return chain


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener; port 0 takes a free one."""

    name: str
    chains: Sequence[Chain]
    address: str = "127.0.0.1"
    port: int = 0

    def as_dict(self) -> Json:
        """Return the Listener."""
        listener: Json = {
            "name": self.name,
            "stat_prefix": self.name,
            "address": _address(self.address, self.port),
            "filter_chains": [chain.as_dict() for chain in self.chains],
        }
        if any(chain.server_names for chain in self.chains):
            kind = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
            inspector = {
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {"@type": _TYPE + kind},
            }
            listener["listener_filters"] = [inspector]
        return listener


@dataclass(frozen=True, slots=True)
class Cluster:
    """An upstream at fixed addresses."""

    name: str
    endpoints: Sequence[tuple[str, int]]
    tls: ClientTls | None = None
    requests_per_connection: int = 0
    """HTTP requests after which a connection is closed; 0: never."""

    def as_dict(self) -> Json:
        """Return the Cluster."""
        endpoints = [
            {"endpoint": {"address": _address(host, port)}} for host, port in self.endpoints
        ]
        cluster: Json = {
            "name": self.name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": self.name,
                "endpoints": [{"lb_endpoints": endpoints}],
            },
        }
        if self.tls:
            cluster["transport_socket"] = self.tls.as_dict()
        if self.requests_per_connection:
            options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            cluster["typed_extension_protocol_options"] = {
                options: {
                    "@type": _TYPE + options,
                    "common_http_protocol_options": {
                        "max_requests_per_connection": self.requests_per_connection
                    },
                    "explicit_http_config": {"http_protocol_options": {}},
                }
            }
        return cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """A whole Envoy configuration."""

    listeners: Sequence[Listener]
    clusters: Sequence[Cluster] = ()
    stats_prefixes: Sequence[str] = ()
    """Only statistics with these prefixes are kept; none: all."""
    max_connections: int = 50_000
    metrics: Metrics | None = None

    def as_dict(self) -> Json:
        """Return the Bootstrap."""
        bootstrap: Json = {
            # Envoy accepts no SDS without a node.
            "node": {"id": "lab", "cluster": "lab"},
            "admin": {"address": _address("127.0.0.1", 0)},
            "static_resources": {
                "listeners": [listener.as_dict() for listener in self.listeners],
                "clusters": [cluster.as_dict() for cluster in self.clusters],
            },
            "overload_manager": _connection_limit(self.max_connections),
        }
        statistics: Json = {}
        if self.metrics:
            bootstrap["bootstrap_extensions"] = self.metrics.as_list()
            bootstrap["stats_flush_interval"] = "0.5s"  # Envoy merges histograms so often
            statistics["histogram_bucket_settings"] = self.metrics.buckets()
        if self.stats_prefixes:
            patterns = [{"prefix": prefix} for prefix in self.stats_prefixes]
            statistics["stats_matcher"] = {"inclusion_list": {"patterns": patterns}}
        if statistics:
            bootstrap["stats_config"] = statistics
        return bootstrap


def _version(version: TlsVersion | None) -> str:
    return f"TLSv{version.replace('.', '_')}" if version else ""


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _transport_socket(context_type: str, context: Json) -> Json:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": _TLS + context_type, **context},
    }


def _http_manager(action: Json) -> Json:
    route = {"match": {"prefix": "/"}, **action}
    router = f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": _HTTP_MANAGER,
            "stat_prefix": "http",
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
            },
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": router}}
            ],
        },
    }


def _connection_limit(connections: int) -> Json:
    """Envoy warns at every start when there is no limit; a log without noise is easier to check."""
    return {
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": _MAX_CONNECTIONS,
                    "max_active_downstream_connections": connections,
                },
            }
        ]
    }
