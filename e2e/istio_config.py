"""What istiod is given for a scenario: Istio's resources, and what `istio_kit render` made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from e2e.scenario import Hop, Scenario
from istio_kit.lab import Certificate, LabError, Node
from istio_kit.lab.module import ModuleSetup

Json = dict[str, Any]

GATEWAY_NAMESPACE, NAMESPACE, ROOT_NAMESPACE = "istio-ingress", "shop", "istio-system"
GATEWAY_PORT, SERVICE, SERVICE_PORT = 8443, "server.shop.svc.cluster.local", 8080
# Of the istiod that is built (see istio_kit.lab.gotools), and so of the proxies.
ISTIO_VERSION = "1.31"
# What a workload's certificate says in Istio; peers check the trust domain.
IDENTITY = f"spiffe://cluster.local/ns/{NAMESPACE}/sa/default"
# Every Envoy runs in a folder of its own: one setting gives each its own file.
STATS_FILE = Path("/proc/self/cwd/multibuffer.stats")

# Filters of istio-proxy that a stock Envoy does not know.
ENVIRONMENT = {"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"}
MESH: Json = {
    "defaultProviders": {},
    "enablePrometheusMerge": False,
    "rootNamespace": ROOT_NAMESPACE,
}


def labels(hop: Hop) -> dict[str, str]:
    """Return the labels of a proxy's pod."""
    return {"istio": "ingressgateway"} if hop.node == "gateway" else {"app": hop.name}


def namespace(hop: Hop) -> str:
    """Return the namespace of a proxy's pod."""
    return GATEWAY_NAMESPACE if hop.node == "gateway" else NAMESPACE


def write(
    folder: Path,
    scenario: Scenario,
    places: Mapping[str, Node],
    files: tuple[Certificate, Path],
) -> None:
    """Write the folder that istiod reads; `files` are the gateway's certificate and the root."""
    resources = [_service(scenario, places), _new_connections(), _no_resumption(), _mtls(scenario)]
    for hop in scenario.hops:
        if hop.node == "gateway":
            resources += _gateway(scenario, hop, files)
        if hop.node == "client":
            resources.append(_egress(hop))
    (folder / "mesh.yaml").write_text(
        yaml.safe_dump_all([one for one in resources if one], sort_keys=False)
    )
    for number, values in enumerate(_inputs(scenario)):
        _render(folder / f"rendered-{number}", values)


def _inputs(scenario: Scenario) -> list[Json]:
    """Return what `istio_kit render` is asked for: the whole mesh, a gateway, or a pod."""
    accelerated = [hop for hop in scenario.hops if hop.accelerated == "module"]
    outbound = [{"service": SERVICE, "port": SERVICE_PORT}]
    inputs = []
    whole = scenario.name == "scope-mesh"
    for hop in accelerated:
        if hop.node == "gateway":
            scope: Json = {
                "kind": "gateway",
                "namespace": GATEWAY_NAMESPACE,
                "gateway": {"kind": "classic", "ports": [{"port": GATEWAY_PORT}]},
            }
        elif whole:
            scope = {"kind": "mesh", "mtls": "STRICT"}
        else:
            scope = {
                "kind": "workload",
                "namespace": NAMESPACE,
                "labels": labels(hop),
                "deployment": hop.name,
                "mtls": "STRICT",
                **({"outbound": outbound} if scenario.sends(hop) == "mtls" else {}),
            }
        inputs.append(
            {
                "name": f"multibuffer-{hop.name}",
                "istio": {"version": ISTIO_VERSION, "proxy_image": "example/proxyv2:1"},
                "scope": scope,
                "delivery": {"kind": "image", "image": "example/multibuffer:1"},
                "module": ModuleSetup(STATS_FILE).settings(),
            }
        )
    return inputs


def _render(folder: Path, values: Json) -> None:
    """Run `istio_kit render`; only what istiod reads is kept."""
    command = [sys.executable, "-m", "istio_kit", "render", "-f", "-", "--output-dir", str(folder)]
    done = subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"istio_kit render: {done.stderr.strip()}")
    for path in folder.iterdir():
        if path.name != "envoyfilter.yaml":
            path.unlink()


def _resource(kind: str, group: str, where: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, "namespace": where},
        "spec": spec,
    }


def _networking(kind: str, where: str, name: str, spec: Json) -> Json:
    return _resource(kind, "networking.istio.io/v1", where, name, spec)


def _service(scenario: Scenario, places: Mapping[str, Node]) -> Json:
    endpoint: Json = {"address": places["server"].address, "ports": {"http": SERVICE_PORT}}
    if scenario.hops[-1].node == "server":
        endpoint["labels"] = {**labels(scenario.hops[-1]), "security.istio.io/tlsMode": "istio"}
    spec = {
        "hosts": [SERVICE],
        "ports": [{"number": SERVICE_PORT, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "location": "MESH_INTERNAL",
        "endpoints": [endpoint],
    }
    return _networking("ServiceEntry", NAMESPACE, "server", spec)


def _new_connections() -> Json:
    """A new connection per request behind the proxies as well."""
    pool = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
    return _networking(
        "DestinationRule", NAMESPACE, "server", {"host": SERVICE, "trafficPolicy": pool}
    )


def _no_resumption() -> Json:
    """Envoy resumes sessions to its upstreams; that would hide private-key operations."""
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "max_session_keys": 0,
    }
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    cluster = {"service": SERVICE, "portNumber": SERVICE_PORT}
    patches = [
        {
            "applyTo": "CLUSTER",
            "match": {"context": context_name, "cluster": cluster},
            "patch": {"operation": "MERGE", "value": {"transport_socket": socket}},
        }
        # Not inbound: that cluster is plain, and the patch would turn TLS on.
        for context_name in ("SIDECAR_OUTBOUND", "GATEWAY")
    ]
    return _resource(
        "EnvoyFilter",
        "networking.istio.io/v1alpha3",
        ROOT_NAMESPACE,
        "no-resumption",
        {"configPatches": patches},
    )


def _mtls(scenario: Scenario) -> Json:
    if scenario.hops[-1].accepts != "mtls" or scenario.hops[-1].node != "server":
        return {}
    spec = {"mtls": {"mode": "STRICT"}}
    return _resource("PeerAuthentication", "security.istio.io/v1", ROOT_NAMESPACE, "default", spec)


def _gateway(scenario: Scenario, hop: Hop, files: tuple[Certificate, Path]) -> list[Json]:
    certificate, root = files
    version = f"TLSV{scenario.tls.replace('.', '_')}"
    tls: Json = {
        "mode": "MUTUAL" if hop.accepts == "mtls" else "SIMPLE",
        "serverCertificate": str(certificate.cert),
        "privateKey": str(certificate.key),
        "minProtocolVersion": version,
        "maxProtocolVersion": version,
    }
    if hop.accepts == "mtls":
        tls["caCertificates"] = str(root)
    port = {"number": GATEWAY_PORT, "name": "https", "protocol": "HTTPS"}
    server = {"port": port, "hosts": ["*"], "tls": tls}
    destination = {"host": SERVICE, "port": {"number": SERVICE_PORT}}
    return [
        _networking(
            "Gateway", GATEWAY_NAMESPACE, "gw", {"selector": labels(hop), "servers": [server]}
        ),
        _networking(
            "VirtualService",
            GATEWAY_NAMESPACE,
            "all",
            {
                "hosts": ["*"],
                "gateways": ["gw"],
                "http": [{"route": [{"destination": destination}]}],
            },
        ),
    ]


def _egress(hop: Hop) -> Json:
    """A client's sidecar without traffic capture: clients talk to its port."""
    listener = {
        "port": {"number": SERVICE_PORT, "protocol": "HTTP", "name": "http"},
        "bind": "0.0.0.0",
        "captureMode": "NONE",
        "hosts": [f"*/{SERVICE}"],
    }
    spec = {"workloadSelector": {"labels": labels(hop)}, "egress": [listener]}
    return _networking("Sidecar", NAMESPACE, hop.name, spec)
