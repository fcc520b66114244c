"""What is applied to the kind cluster, and how its Jobs' output becomes figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.driver import Counters, Tool
from e2e.scenario import Scenario
from istio_kit.lab import Certificate, LabError, Load, LoadResult, fortio, k6

if TYPE_CHECKING:
    from e2e.kind import KindOptions

Json = dict[str, Any]

HOST = "e2e.example"
GATEWAY, GATEWAY_NAMESPACE, GATEWAY_PORT = "istio-ingressgateway", "istio-system", 8443
URL = f"https://{GATEWAY}.{GATEWAY_NAMESPACE}.svc.cluster.local/"
SECRET = "e2e-gateway"
PODS = {"gateway": (GATEWAY_NAMESPACE, "istio=ingressgateway"), "server": ("default", "app=fortio")}
_SUMMARY = Path("/dev/stdout")


def cluster(node_image: str) -> Json:
    """Return kind's configuration: a node each for client, gateway and server."""
    workers = [
        {"role": "worker", "image": node_image, "labels": {"e2e": name}}
        for name in ("client", "gateway", "server")
    ]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane", "image": node_image}, *workers],
    }


def secret(certificate: Certificate) -> Json:
    """Return the gateway's certificate."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": SECRET, "namespace": GATEWAY_NAMESPACE},
        "stringData": {
            "tls.crt": certificate.cert.read_text(),
            "tls.key": certificate.key.read_text(),
        },
    }


def server(options: KindOptions) -> list[Json]:
    """Return Fortio's server and its Service."""
    labels = {"app": "fortio"}
    container = {"name": "fortio", "image": options.fortio_image, "args": ["server"]}
    template = {
        "metadata": {"labels": labels},
        "spec": {"nodeSelector": {"e2e": "server"}, "containers": [container]},
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "fortio", "namespace": "default"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "fortio", "namespace": "default"},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8080}]},
        },
    ]


def routes(scenario: Scenario) -> list[Json]:
    """Return the Gateway with the scenario's TLS version, and the way to the server."""
    version = f"TLSV{scenario.tls.replace('.', '_')}"
    tls = {
        "mode": "SIMPLE",
        "credentialName": SECRET,
        "minProtocolVersion": version,
        "maxProtocolVersion": version,
    }
    port = {"number": GATEWAY_PORT, "name": "https", "protocol": "HTTPS"}
    destination = {"host": "fortio.default.svc.cluster.local", "port": {"number": 8080}}
    group = "networking.istio.io/v1"
    return [
        {
            "apiVersion": group,
            "kind": "Gateway",
            "metadata": {"name": "e2e", "namespace": GATEWAY_NAMESPACE},
            "spec": {
                "selector": {"istio": "ingressgateway"},
                "servers": [{"port": port, "hosts": ["*"], "tls": tls}],
            },
        },
        {
            "apiVersion": group,
            "kind": "VirtualService",
            "metadata": {"name": "e2e", "namespace": GATEWAY_NAMESPACE},
            "spec": {
                "hosts": ["*"],
                "gateways": ["e2e"],
                "http": [{"route": [{"destination": destination}]}],
            },
        },
    ]


def render(folder: Path, options: KindOptions) -> None:
    """Run `istio_kit render` for the cluster's gateway."""
    values = {
        "istio": {"version": options.istio_version, "proxy_image": options.proxy_image},
        "scope": {
            "kind": "gateway",
            "namespace": GATEWAY_NAMESPACE,
            "gateway": {"kind": "classic", "ports": [{"port": GATEWAY_PORT}]},
        },
        "delivery": {"kind": "init-container", "image": options.module_image},
    }
    command = [sys.executable, "-m", "istio_kit", "render", "-f", "-", "--output-dir", str(folder)]
    done = subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"istio_kit render: {done.stderr.strip()}")


def load_job(tool: Tool, load: Load, options: KindOptions) -> list[Json]:
    """Return the Job of a load generator, and what it needs."""
    if tool == "fortio":
        words = ["load", "-quiet", *fortio.options(load, Path("-")), load.url]
        return [_job("load-fortio", {"image": options.fortio_image, "args": words}, 1)]
    count = options.segments
    marks = ",".join(["0", *(f"{number}/{count}" for number in range(1, count)), "1"])
    # Each pod of an indexed Job knows its number, and so its part of the load.
    script = (
        'n=$JOB_COMPLETION_INDEX; exec k6 run --quiet --no-color --no-usage-report --address "" '
        f"--execution-segment $n/{count}:$((n+1))/{count} "
        f"--execution-segment-sequence {marks} /script/load.js"
    )
    container = {
        "image": options.k6_image,
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "script", "mountPath": "/script"}],
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "k6-script", "namespace": "default"},
        "data": {"load.js": k6.render(load, _SUMMARY)},
    }
    job = _job("load-k6", container, count)
    job["spec"]["template"]["spec"]["volumes"] = [
        {"name": "script", "configMap": {"name": "k6-script"}}
    ]
    return [config, job]


def _job(name: str, container: Json, count: int) -> Json:
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": {"e2e": "client"},
        "containers": [{"name": "load", **container}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "completions": count,
            "parallelism": count,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"job-name": name}}, "spec": spec},
        },
    }


def result_of(tool: Tool, load: Load, logs: Sequence[str]) -> LoadResult:
    """Return what the pods of a Job saw together.

    Counts and rates add up. Percentiles are the worst pod's: those of all cannot be known from
    each pod's own.
    """
    read = fortio.result if tool == "fortio" else k6.result
    results = [read(load, json.loads(log[log.index("{") :]), 0.0, (tool,)) for log in logs]
    worst = max(results, key=lambda result: result.tls.p99)
    return replace(
        worst,
        handshakes=sum(result.handshakes for result in results),
        failed=sum(result.failed for result in results),
        warm_up=sum(result.warm_up for result in results),
        rate=sum(result.rate for result in results),
    )


def counters(page: Mapping[str, Any]) -> Counters:
    """Return the counts of the gateway from its statistics."""
    found = {
        one["name"]: one["value"] for one in page["stats"] if isinstance(one.get("value"), int)
    }

    def total(pattern: str) -> int:
        return sum(value for name, value in found.items() if re.search(pattern, name))

    listener = rf"^listener\.0\.0\.0\.0_{GATEWAY_PORT}\."
    return Counters(
        connections=total(listener + r"downstream_cx_total$"),
        handshakes=total(listener + r"ssl\.handshake$"),
        resumed=total(listener + r"ssl\.session_reused$"),
        requests=total(rf"^http\.outbound_0\.0\.0\.0_{GATEWAY_PORT};?\.downstream_rq_total$"),
        upstream_connections=total(r"^cluster\.outbound\|8080\|.*\.upstream_cx_total$"),
        upstream_handshakes=0,
        signed=total(r"^dynamicmodulescustom\..*(batched|single)"),
    )
