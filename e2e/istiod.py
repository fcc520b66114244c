"""Runs scenarios with the configuration of a real istiod, which the Envoys get over xDS.

istiod reads a folder instead of a cluster. Nodes are network namespaces; the traffic of a
server's pod is redirected to its sidecar as Istio does it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from e2e import istio_config as istio
from e2e.driver import Counters, Tool
from e2e.local import GENERATORS, LocalDriver
from e2e.scenario import Hop, Scenario
from envoy_ext import artifacts
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    EnvoyProcess,
    FortioServer,
    LabError,
    Load,
    LoadResult,
    Node,
    StartupError,
    can_isolate,
    nodes,
)
from istio_kit.lab.gotools import PILOT_DISCOVERY, go_tool
from istio_kit.lab.module import ModuleSetup
from istio_kit.lab.process import clean_environment, tail, tool

_XDS_PORT, _KUBE_PORT, _INBOUND_PORT = 15010, 18001, 15006
_READY_SECONDS = 60.0
_ALLOWED = (
    # istiod still sends fields that Envoy will give up.
    r"Deprecated field: type envoy\.",
    # Envoy asks before istiod listens, and once more after that.
    r"StreamAggregatedResources gRPC config stream to xds-grpc closed: 14",
)
_HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(slots=True)
class IstiodDeployment:
    """A scenario whose proxies are configured by istiod."""

    scenario: Scenario
    folder: Path
    places: Mapping[str, Node]
    ca: CertAuthority
    envoys: dict[str, EnvoyProcess] = field(default_factory=dict)
    allowed: Sequence[str] = _ALLOWED

    def load(
        self, tool: Tool, *, seconds: float, connections: int, rate: float | None = None
    ) -> LoadResult:
        """Load the first hop from the client's node."""
        first = self.scenario.hops[0]
        secure = first.accepts != "plain"
        port = istio.GATEWAY_PORT if secure else istio.SERVICE_PORT
        mutual = first.accepts == "mtls"
        load = Load(
            url=f"{'https' if secure else 'http'}://{istio.SERVICE}:{port}/",
            hosts={istio.SERVICE: self.places[first.node].address},
            seconds=seconds,
            connections=connections,
            rate=rate,
            ca=self.ca.cert,
            client_certificate=self.ca.issue("client", usage="client") if mutual else None,
            node=self.places["client"],
        )
        return GENERATORS[tool](load, self.folder)

    def counters(self, hop: str) -> Counters:
        """Return the counts of a proxy."""
        found = self.envoys[hop].stats()
        port = self._listener_port(hop)
        upstream = rf"^cluster\.(out|in)bound\|{istio.SERVICE_PORT}\|.*\."
        return Counters(
            connections=_sum(found, rf"^listener\.0\.0\.0\.0_{port}\.downstream_cx_total$"),
            handshakes=_sum(found, rf"^listener\.0\.0\.0\.0_{port}\.ssl\.handshake$"),
            resumed=_sum(found, r"\.ssl\.session_reused$"),
            requests=_sum(found, r"^http\.(in|out)bound_.*\.downstream_rq_total$"),
            upstream_connections=_sum(found, rf"{upstream}upstream_cx_total$"),
            upstream_handshakes=_sum(found, rf"{upstream}ssl\.handshake$"),
            signed=ModuleSetup(self.folder / hop / istio.STATS_FILE.name).read().signed(),
        )

    def signatures(self, hop: Hop) -> int:
        """Return how many operations of the module one request costs at `hop`.

        What is rendered for a gateway leaves the gateway's own client side to Envoy.
        """
        upstream = hop.node == "gateway" and self.scenario.sends(hop) == "mtls"
        return max(0, self.scenario.signatures(hop) - upstream)

    def log(self, hop: str) -> str:
        """Return what a proxy has logged so far."""
        return self.envoys[hop].log_text()

    def rotate(self, hop: str) -> Certificate:
        """Refuse: what istiod reads does not rotate."""
        raise LabError(f"{hop}: certificates of files do not rotate with istiod")

    def start(self, hop: Hop, running: ExitStack) -> None:
        """Start a proxy, and wait until istiod has configured it."""
        own = self.folder / hop.name
        own.mkdir()
        envoy = EnvoyProcess(
            self._bootstrap(hop),
            own,
            name=hop.name,
            node=self.places[hop.node],
            module_dir=artifacts.module_dir(),
            concurrency=max(1, len(self.places[hop.node].cpus)),
            ready_seconds=_READY_SECONDS,
        )
        try:
            running.enter_context(envoy)
        except StartupError as error:
            log = tail(self.folder / "istiod.log")
            raise StartupError(f"{error}\nthe end of istiod's log:\n{log}") from error
        self.envoys[hop.name] = envoy

    def _listener_port(self, hop: str) -> int:
        node = next(one.node for one in self.scenario.hops if one.name == hop)
        ports = {
            "gateway": istio.GATEWAY_PORT,
            "client": istio.SERVICE_PORT,
            "server": _INBOUND_PORT,
        }
        return ports[node]

    def _bootstrap(self, hop: Hop) -> dict[str, Any]:
        config = Bootstrap(listeners=()).as_dict()
        kind = "router" if hop.node == "gateway" else "sidecar"
        address, where = self.places[hop.node].address, istio.namespace(hop)
        config["node"] = {
            "id": f"{kind}~{address}~{hop.name}.{where}~{where}.svc.cluster.local",
            "cluster": hop.name,
            "metadata": {
                "NAMESPACE": where,
                "LABELS": istio.labels(hop),
                "ISTIO_VERSION": f"{istio.ISTIO_VERSION}.0",
                "CLUSTER_ID": "Kubernetes",
                "INSTANCE_IPS": address,
            },
        }
        ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
        config["dynamic_resources"] = {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        }
        istiod = self.places["istiod"].address
        config["static_resources"]["clusters"] = [
            _grpc("xds-grpc", {"socket_address": {"address": istiod, "port_value": _XDS_PORT}}),
            _grpc("sds-grpc", {"pipe": {"path": str(self.folder / "sds.sock")}}),
        ]
        return config


def _grpc(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            _HTTP2: {
                "@type": f"type.googleapis.com/{_HTTP2}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


def _sum(found: Mapping[str, int], pattern: str) -> int:
    return sum(value for name, value in found.items() if re.search(pattern, name))


@dataclass(frozen=True, slots=True)
class IstiodDriver:
    """istiod from files, and stock Envoys on nodes of their own."""

    gateway_cpus: Sequence[int] = ()
    client_cpus: Sequence[int] = ()
    name: str = "istiod"

    def missing(self) -> Sequence[str]:
        """Return what is not here and has to be."""
        lacking = list(LocalDriver().missing())
        if not can_isolate():
            lacking.append("the right to make network namespaces: run as root")
        for find in (lambda: go_tool(PILOT_DISCOVERY), lambda: tool("iptables", "iptables")):
            try:
                find()
            except LabError as error:
                lacking.append(str(error))
        return lacking

    def runs(self, scenario: Scenario) -> bool:
        """Return whether istiod can be told to do this."""
        in_mesh = scenario.hops[-1].node == "server"
        # The mesh's own certificates are RSA-2048 with any TLS version here.
        plain = (scenario.key, scenario.tls) == ("rsa2048", "1.3")
        usual = all(hop.accelerated in ("module", "stock") for hop in scenario.hops)
        return usual and (plain or not in_mesh)

    @contextmanager
    def deploy(self, scenario: Scenario) -> Iterator[IstiodDeployment]:
        """Run a scenario inside a `with` block; nothing of it is left afterwards."""
        from e2e.sds import secrets

        cpus = {
            "client": self.client_cpus,
            "gateway": self.gateway_cpus,
            "server": self.client_cpus,
            "istiod": self.client_cpus,
        }
        with ExitStack() as running:
            folder = Path(running.enter_context(TemporaryDirectory(prefix="e2e-")))
            places = running.enter_context(nodes(cpus, isolated=True))
            running.enter_context(FortioServer(folder, places["server"], port=istio.SERVICE_PORT))
            ca = CertAuthority(folder)
            workload = ca.issue(
                "workload",
                key=scenario.key,
                dns=(istio.SERVICE,),
                uris=(istio.IDENTITY,),
                usage="peer",
            )
            running.enter_context(secrets(folder / "sds.sock", workload, ca.cert))
            (folder / "config").mkdir()
            istio.write(folder / "config", scenario, places, (workload, ca.cert))
            _start_istiod(folder, places["istiod"], running)
            if scenario.hops[-1].node == "server":
                _redirect(places["server"])
            deployment = IstiodDeployment(scenario, folder, places, ca)
            for hop in reversed(scenario.hops):
                deployment.start(hop, running)
            yield deployment


def _redirect(node: Node) -> None:
    """Send what comes for the server to its sidecar, as Istio's init container does."""
    rule = f"-t nat -A PREROUTING -p tcp --dport {istio.SERVICE_PORT} -j REDIRECT"
    command = [tool("iptables", "iptables"), *rule.split(), "--to-port", str(_INBOUND_PORT)]
    done = subprocess.run(node.wrap(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"iptables: {done.stderr.strip()}")


def _start_istiod(folder: Path, node: Node, running: ExitStack) -> None:
    """Start istiod, and beside it the empty Kubernetes API that it does not start without."""
    kubeconfig, mesh = folder / "kubeconfig.yaml", folder / "mesh.yaml"
    cluster = {"name": "none", "cluster": {"server": f"http://127.0.0.1:{_KUBE_PORT}"}}
    context = {"name": "none", "context": {"cluster": "none", "user": "none"}}
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "contexts": [context],
                "users": [{"name": "none", "user": {}}],
                "current-context": "none",
            }
        )
    )
    mesh.write_text(yaml.safe_dump(istio.MESH))
    stub = Path(__file__).with_name("kube_stub.py")
    _background([sys.executable, str(stub), str(_KUBE_PORT)], folder / "kube.log", node, running)
    command = [
        *(str(go_tool(PILOT_DISCOVERY)), "discovery", "--registries=Kubernetes"),
        *(f"--configDir={folder / 'config'}", f"--meshConfig={mesh}", f"--kubeconfig={kubeconfig}"),
        *(f"--grpcAddr=:{_XDS_PORT}", "--secureGRPCAddr=", "--httpsAddr=", "--ctrlz_port=0"),
    ]
    _background(command, folder / "istiod.log", node, running)


def _background(command: list[str], log: Path, node: Node, running: ExitStack) -> None:
    with log.open("wb") as stream:
        process = subprocess.Popen(
            node.wrap(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=clean_environment(istio.ENVIRONMENT, drop_prefixes=("KUBE", "POD_", "ISTIO_")),
            start_new_session=True,
        )
    running.callback(process.wait)
    running.callback(process.kill)
