"""Runs scenarios on a kind cluster: nodes for client, gateway and server, Istio, real Jobs.

Every step is a command of kind, istioctl or kubectl; `Cluster` knows their order. The module comes
as an image (its files in one folder), which `istio_kit render` is told about.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from e2e import kind_objects as objects
from e2e.driver import Counters, Tool
from e2e.scenario import Hop, Scenario
from istio_kit.lab import CertAuthority, Certificate, LabError, Load, LoadResult
from istio_kit.lab.gotools import ISTIOCTL, KIND, find, go_tool

_STEP_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class KindOptions:
    """Where images come from; the defaults are pinned."""

    cluster: str = "multibuffer-e2e"
    node_image: str = "kindest/node:v1.35.0"
    hub: str = "docker.io/istio"
    tag: str = "1.31.0"
    module_image: str = "multibuffer-module:e2e"
    proxy_image: str = "multibuffer-proxyv2:e2e"
    k6_image: str = "grafana/k6:1.1.0"
    fortio_image: str = "fortio/fortio:1.66.5"
    segments: int = 1
    """Pods that k6 is spread over, each with its execution segment."""

    @property
    def istio_version(self) -> str:
        """Minor version of Istio, as `istio_kit render` wants it."""
        return ".".join(self.tag.split(".")[:2])


def run(command: Sequence[str], *, stdin: str | None = None) -> str:
    """Run one step; return what it printed.

    Raises:
        LabError: it failed; the message has its last words.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_STEP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} did not end within {_STEP_SECONDS:g} s") from error
    if done.returncode:
        raise LabError(f"{' '.join(command[:4])} …: {done.stderr.strip()[-2000:]}")
    return done.stdout


@dataclass(slots=True)
class Cluster:
    """A kind cluster of its own name and kubeconfig; the user's is left alone."""

    options: KindOptions
    folder: Path
    kubeconfig: Path = field(init=False)

    def __post_init__(self) -> None:
        self.kubeconfig = self.folder / "kubeconfig"

    def create(self) -> None:
        """Create the cluster, load the images, install Istio."""
        config = self.folder / "kind.yaml"
        config.write_text(yaml.safe_dump(objects.cluster(self.options.node_image)))
        name = ("--name", self.options.cluster)
        kubeconfig = ("--kubeconfig", str(self.kubeconfig))
        kind = str(go_tool(KIND))
        run([kind, "create", "cluster", *name, "--config", str(config), *kubeconfig])
        for image in (self.options.module_image, self.options.proxy_image):
            run([kind, "load", "docker-image", image, *name])
        settings = (
            f"hub={self.options.hub}",
            f"tag={self.options.tag}",
            "profile=default",
            "components.ingressGateways[0].k8s.nodeSelector.e2e=gateway",
        )
        flags = [word for one in settings for word in ("--set", one)]
        run([str(go_tool(ISTIOCTL)), "install", "-y", *kubeconfig, *flags])

    def delete(self) -> None:
        """Delete the cluster, also one that was created only in part."""
        run([str(go_tool(KIND)), "delete", "cluster", "--name", self.options.cluster])

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl against this cluster."""
        return run(["kubectl", "--kubeconfig", str(self.kubeconfig), *words], stdin=stdin)

    def apply(self, documents: Sequence[objects.Json]) -> None:
        """Apply objects."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def job(self, name: str, documents: Sequence[objects.Json]) -> list[str]:
        """Run a Job to its end; return what each of its pods printed."""
        self.apply(documents)
        self.kubectl("wait", f"job/{name}", "--for=condition=complete", "--timeout=600s")
        pods = self.kubectl("get", "pods", "-l", f"job-name={name}", "-o", "name").split()
        logs = [self.kubectl("logs", pod) for pod in pods]
        self.kubectl("delete", "job", name, "--wait=true")
        return logs


@dataclass(slots=True)
class KindDeployment:
    """A scenario on the cluster."""

    scenario: Scenario
    cluster: Cluster
    ca: CertAuthority
    allowed: Sequence[str] = ()

    def load(
        self, tool: Tool, *, seconds: float, connections: int, rate: float | None = None
    ) -> LoadResult:
        """Load the gateway from the client's node."""
        load = Load(url=objects.URL, seconds=seconds, connections=connections, rate=rate)
        documents = objects.load_job(tool, load, self.cluster.options)
        logs = self.cluster.job(f"load-{tool}", documents)
        return objects.result_of(tool, load, logs)

    def counters(self, hop: str) -> Counters:
        """Return the counts of a proxy, all pods together."""
        pod = self._pod(hop)
        command = ("exec", "-n", pod[0], pod[1], "-c", "istio-proxy", "--", "pilot-agent")
        text = self.cluster.kubectl(*command, "request", "GET", "stats?format=json")
        return objects.counters(json.loads(text))

    def signatures(self, hop: Hop) -> int:
        """Return how many operations of the module one request costs at `hop`."""
        return self.scenario.signatures(hop)

    def log(self, hop: str) -> str:
        """Return what a proxy has logged so far."""
        namespace, pod = self._pod(hop)
        return self.cluster.kubectl("logs", "-n", namespace, pod, "-c", "istio-proxy")

    def rotate(self, hop: str) -> Certificate:
        """Give the gateway a new certificate: a new Secret of the same name."""
        certificate = self.ca.issue(hop, key=self.scenario.key, dns=(objects.HOST,))
        self.cluster.apply([objects.secret(certificate)])
        return certificate

    def _pod(self, hop: str) -> tuple[str, str]:
        node = next(one.node for one in self.scenario.hops if one.name == hop)
        namespace, label = objects.PODS[node]
        words = ("get", "pods", "-n", namespace, "-l", label, "-o", "name")
        return namespace, self.cluster.kubectl(*words).split()[0]


@dataclass(frozen=True, slots=True)
class KindDriver:
    """A kind cluster with Istio, made for each scenario and deleted afterwards."""

    options: KindOptions = field(default_factory=KindOptions)
    name: str = "kind"

    def missing(self) -> Sequence[str]:
        """Return what is not here and has to be; nothing is built or fetched for that."""
        lacking = []
        if shutil.which("docker") is None:
            lacking.append("docker: install a container engine")
        else:
            done = subprocess.run(
                ["docker", "info"], capture_output=True, text=True, timeout=60, check=False
            )
            if done.returncode:
                lacking.append("docker: the daemon does not answer; start it")
            else:
                lacking += self._missing_images()
        if shutil.which("kubectl") is None:
            lacking.append("kubectl: install it")
        for tool in (KIND, ISTIOCTL):
            if find(tool) is None and shutil.which("go") is None:
                lacking.append(f"{tool.name}: install Go, or name it in {tool.variable}")
        return lacking

    def _missing_images(self) -> list[str]:
        """Return which images the engine does not have; the user's own cannot be pulled."""
        lacking = []
        for image in (self.options.module_image, self.options.proxy_image):
            command = ["docker", "image", "inspect", image]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                lacking.append(f"the image {image}: build it, or name another one")
        return lacking

    def runs(self, scenario: Scenario) -> bool:
        """Return whether the driver can do the scenario: one gateway that terminates TLS."""
        (first, *others) = scenario.hops
        return not others and first.accepts == "tls" and first.accelerated == "module"

    @contextmanager
    def deploy(self, scenario: Scenario) -> Iterator[KindDeployment]:
        """Run a scenario inside a `with` block; the cluster is deleted in any case."""
        with ExitStack() as running:
            folder = Path(running.enter_context(TemporaryDirectory(prefix="e2e-")))
            cluster = Cluster(self.options, folder)
            running.callback(cluster.delete)
            cluster.create()
            ca = CertAuthority(folder)
            certificate = ca.issue("gateway", key=scenario.key, dns=(objects.HOST,))
            cluster.apply(
                [
                    objects.secret(certificate),
                    *objects.server(self.options),
                    *objects.routes(scenario),
                ]
            )
            objects.render(folder / "rendered", self.options)
            cluster.kubectl("apply", "-f", str(folder / "rendered" / "envoyfilter.yaml"))
            patch = str(folder / "rendered" / "patch-deployment.yaml")
            gateway = ("deployment", objects.GATEWAY, "-n", objects.GATEWAY_NAMESPACE)
            cluster.kubectl("patch", *gateway, "--type", "strategic", "--patch-file", patch)
            cluster.kubectl("rollout", "status", *gateway, "--timeout=300s")
            cluster.kubectl("rollout", "status", "deployment", "fortio", "--timeout=300s")
            yield KindDeployment(scenario, cluster, ca)
