"""Runs scenarios on this host; as root, each node is a network namespace."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.driver import Counters, Tool
from e2e.scenario import Hop, Scenario
from envoy_ext import artifacts
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    ClientTls,
    Cluster,
    EnvoyProcess,
    FortioServer,
    LabError,
    Listener,
    Load,
    LoadResult,
    Module,
    Node,
    RouteTo,
    Secret,
    ServerTls,
    can_isolate,
    nodes,
    run_fortio,
    run_k6,
    write_secret,
)
from istio_kit.lab.fortio import fortio_path
from istio_kit.lab.k6 import k6_path
from istio_kit.lab.module import ModuleSetup

_ROTATION_SECONDS = 10.0
GENERATORS = {"k6": run_k6, "fortio": run_fortio}


@dataclass(slots=True)
class Proxy:
    """A running Envoy of the path."""

    envoy: EnvoyProcess
    setup: ModuleSetup
    secret: Secret
    rotations: int = 0

    def counters(self) -> Counters:
        """Return the counts; what Envoy has not counted yet is 0."""
        found = self.envoy.stats(r"^listener\.in\.|^http\.http\.|^cluster\.next\.")
        return Counters(
            connections=found.get("listener.in.downstream_cx_total", 0),
            handshakes=found.get("listener.in.ssl.handshake", 0),
            resumed=found.get("listener.in.ssl.session_reused", 0)
            + found.get("cluster.next.ssl.session_reused", 0),
            requests=found.get("http.http.downstream_rq_total", 0),
            upstream_connections=found.get("cluster.next.upstream_cx_total", 0),
            upstream_handshakes=found.get("cluster.next.ssl.handshake", 0),
            signed=self.setup.read().signed(),
        )


@dataclass(slots=True)
class LocalDeployment:
    """A scenario that runs on this host."""

    scenario: Scenario
    folder: Path
    places: Mapping[str, Node]
    ca: CertAuthority
    server: FortioServer
    proxies: dict[str, Proxy] = field(default_factory=dict)
    allowed: Sequence[str] = ()

    def load(
        self, tool: Tool, *, seconds: float, connections: int, rate: float | None = None
    ) -> LoadResult:
        """Load the first hop from the client's node."""
        first = self.scenario.hops[0]
        scheme = "http" if first.accepts == "plain" else "https"
        load = Load(
            url=self.proxies[first.name].envoy.url("in", scheme),
            seconds=seconds,
            connections=connections,
            rate=rate,
            ca=self.ca.cert,
            client_certificate=self._client("client") if first.accepts == "mtls" else None,
            node=self.places["client"],
        )
        return GENERATORS[tool](load, self.folder)

    def counters(self, hop: str) -> Counters:
        """Return the counts of a proxy."""
        return self.proxies[hop].counters()

    def signatures(self, hop: Hop) -> int:
        """Return how many operations of the module one request costs at `hop`."""
        return self.scenario.signatures(hop)

    def log(self, hop: str) -> str:
        """Return what a proxy has logged so far."""
        return self.proxies[hop].envoy.log_text()

    def rotate(self, hop: str) -> Certificate:
        """Give a proxy a new certificate for its listener, and wait until it has taken it up."""
        proxy = self.proxies[hop]
        proxy.rotations += 1
        certificate = self._server(self._hop(hop), f"{hop}-{proxy.rotations}")
        write_secret(proxy.secret, certificate)
        end = time.monotonic() + _ROTATION_SECONDS
        name = "listener.in.server_ssl_socket_factory.ssl_context_update_by_sds"
        while proxy.envoy.stats(re.escape(name)).get(name, 0) <= proxy.rotations:
            if time.monotonic() > end:
                raise LabError(f"{hop} did not take up its new certificate")
            time.sleep(0.02)
        return certificate

    def start(self, running: ExitStack) -> None:
        """Start the proxies, the last one first: each has to know the address of the next."""
        following = self.server.address
        for hop in reversed(self.scenario.hops):
            proxy = self._proxy(hop, following)
            running.enter_context(proxy.envoy)
            self.proxies[hop.name] = proxy
            following = proxy.envoy.address("in")

    def _hop(self, name: str) -> Hop:
        return next(hop for hop in self.scenario.hops if hop.name == name)

    def _proxy(self, hop: Hop, following: tuple[str, int]) -> Proxy:
        node = self.places[hop.node]
        setup = ModuleSetup(self.folder / f"{hop.name}.stats")
        secret = Secret("server", self.folder / f"{hop.name}.sds.json")
        module = _module(hop, setup)
        listener = Listener(
            "in",
            (Chain(tls=self._accepts(hop, secret, module), app=RouteTo("next")),),
            node.address,
        )
        # A new upstream connection per request as well: each hop makes a handshake per request.
        cluster = Cluster("next", [following], self._sends(hop, module), requests_per_connection=1)
        envoy = EnvoyProcess(
            Bootstrap(listeners=(listener,), clusters=(cluster,)),
            self.folder,
            name=hop.name,
            node=node,
            module_dir=artifacts.module_dir(),
            concurrency=max(1, len(node.cpus)),
        )
        return Proxy(envoy, setup, secret)

    def _accepts(self, hop: Hop, secret: Secret, module: Module | None) -> ServerTls | None:
        if hop.accepts == "plain":
            return None
        write_secret(secret, self._server(hop, hop.name))
        return ServerTls(
            secrets=(secret,),
            module=module,
            trusted_ca=self.ca.cert if hop.accepts == "mtls" else None,
            require_client_certificate=hop.accepts == "mtls",
            min_version=self.scenario.tls,
            max_version=self.scenario.tls,
        )

    def _sends(self, hop: Hop, module: Module | None) -> ClientTls | None:
        if self.scenario.sends(hop) == "plain":
            return None
        return ClientTls(
            certificates=(self._client(f"{hop.name}-client"),),
            trusted_ca=self.ca.cert,
            module=module,
            min_version=self.scenario.tls,
            max_version=self.scenario.tls,
        )

    def _server(self, hop: Hop, name: str) -> Certificate:
        address = self.places[hop.node].address
        return self.ca.issue(name, key=self.scenario.key, ips=(address,))

    def _client(self, name: str) -> Certificate:
        return self.ca.issue(name, key=self.scenario.key, usage="client")


def _module(hop: Hop, setup: ModuleSetup) -> Module | None:
    """Return the handshaker; a library that is not there is what a CPU without IFMA looks like."""
    if hop.accelerated == "stock":
        return None
    if hop.accelerated == "no-ifma":
        return setup.module(library="/nonexistent/libcrypto_mb.so", policy="adaptive")
    if hop.accelerated == "wrong-settings":
        return setup.module(polcy="adaptive")
    return setup.module()


@dataclass(frozen=True, slots=True)
class LocalDriver:
    """Processes on this host."""

    gateway_cpus: Sequence[int] = ()
    client_cpus: Sequence[int] = ()
    isolated: bool = field(default_factory=can_isolate)
    """Whether nodes are network namespaces; else they all are the loopback."""
    name: str = "local"

    def missing(self) -> Sequence[str]:
        """Return what is not here and has to be."""
        lacking = []
        for find in (fortio_path, k6_path, artifacts.envoy_path, artifacts.module_dir):
            try:
                find()
            except (LabError, artifacts.MissingArtifactError) as error:
                lacking.append(str(error))
        return lacking

    def runs(self, scenario: Scenario) -> bool:  # noqa: ARG002 - the interface's
        """Return whether this driver can do the scenario: all of them."""
        return True

    @contextmanager
    def deploy(self, scenario: Scenario) -> Iterator[LocalDeployment]:
        """Run a scenario inside a `with` block; nothing of it is left afterwards."""
        cpus = {
            "client": self.client_cpus,
            "gateway": self.gateway_cpus,
            "server": self.client_cpus,
        }
        with ExitStack() as running:
            folder = Path(running.enter_context(TemporaryDirectory(prefix="e2e-")))
            places = running.enter_context(nodes(cpus, isolated=self.isolated))
            server = running.enter_context(FortioServer(folder, places["server"]))
            deployment = LocalDeployment(scenario, folder, places, CertAuthority(folder), server)
            deployment.start(running)
            yield deployment
