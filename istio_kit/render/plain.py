"""Envoy without a control plane: a whole bootstrap, or only the transport socket."""

from __future__ import annotations

from typing import Any

from istio_kit import messages
from istio_kit.model.types import Input
from istio_kit.render.document import Document
from istio_kit.render.handshaker import SEARCH_PATH, direct
from istio_kit.render.metrics import bootstrap_part

Json = dict[str, Any]

_EXT = "envoy.extensions."
_SECRET = "server"


def plain_envoy(wanted: Input) -> list[Document]:
    """Render for the target ``envoy``."""
    start = f"{SEARCH_PATH}={wanted.delivery.path} envoy -c"
    side = wanted.envoy.side
    why = [
        f"The module is looked for in {wanted.delivery.path} (environment of Envoy).",
        f"It signs with the key of the {side} side.",
    ]
    if wanted.keys.source == "sds":
        why.append(
            f"Certificate and key come from the file {wanted.envoy.sds_file}, which Envoy watches: "
            "replace it by renaming."
        )
    if wanted.envoy.form == "fragment":
        body = {"transport_socket": _socket(wanted)}
        where = "filter chain" if side == "downstream" else "cluster"
        return [Document("transport_socket.yaml", "envoy", body, f"into a {where}", tuple(why))]
    body = messages.checked(messages.BOOTSTRAP, _bootstrap(wanted))
    return [Document("envoy.yaml", "envoy", body, f"{start} envoy.yaml", tuple(why))]


def _socket(wanted: Input) -> Json:
    envoy = wanted.envoy
    common: Json = {"custom_handshaker": direct(wanted.module)}
    if wanted.keys.source == "sds":
        source = {"path_config_source": {"path": envoy.sds_file}, "resource_api_version": "V3"}
        common["tls_certificate_sds_secret_configs"] = [{"name": _SECRET, "sds_config": source}]
    else:
        common["tls_certificates"] = [
            {
                "certificate_chain": {"filename": envoy.certificate},
                "private_key": {"filename": envoy.private_key},
            }
        ]
    if envoy.trusted_ca:
        common["validation_context"] = {"trusted_ca": {"filename": envoy.trusted_ca}}
    context: Json = {"common_tls_context": common}
    name = messages.DOWNSTREAM if envoy.side == "downstream" else messages.UPSTREAM
    if envoy.side == "upstream":
        context["sni"] = envoy.sni
    elif envoy.trusted_ca:
        context["require_client_certificate"] = True
    typed = {"@type": messages.type_url(name), **messages.checked(name, context)}
    return {"name": messages.TLS_SOCKET, "typed_config": typed}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _typed(name: str, kind: str, **fields: Any) -> Json:  # noqa: ANN401 - JSON
    return {"name": name, "typed_config": {"@type": messages.type_url(_EXT + kind), **fields}}


def _bootstrap(wanted: Input) -> Json:
    envoy = wanted.envoy
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="ingress",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[_typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    chain: Json = {"filters": [manager]}
    cluster: Json = {
        "name": "upstream",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": _address(envoy.upstream_address, envoy.upstream_port)
                            }
                        }
                    ]
                }
            ],
        },
    }
    (chain if envoy.side == "downstream" else cluster)["transport_socket"] = _socket(wanted)
    return {
        # Envoy accepts no SDS without a node.
        "node": {"id": wanted.name, "cluster": wanted.name},
        "admin": {"address": _address("127.0.0.1", envoy.admin_port)},
        **bootstrap_part(wanted),
        "static_resources": {
            "listeners": [
                {
                    "name": "ingress",
                    "address": _address(envoy.address, envoy.port),
                    "filter_chains": [chain],
                }
            ],
            "clusters": [cluster],
        },
    }
