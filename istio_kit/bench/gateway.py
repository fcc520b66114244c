"""The Envoys that `bench handshake` compares: they differ in the module alone."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from envoy_ext import artifacts
from istio_kit.bench.plan import Case, Plan, Variant
from istio_kit.bench.sample import Sample
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Chain,
    Cluster,
    EnvoyProcess,
    FortioServer,
    Listener,
    Load,
    LoadResult,
    Respond,
    RouteTo,
    ServerTls,
    nodes,
    run_fortio,
    run_k6,
)
from istio_kit.lab.module import ModuleSetup

_GENERATORS = {"k6": run_k6, "fortio": run_fortio}


@dataclass(frozen=True, slots=True)
class _Counts:
    """What one Envoy and its module counted."""

    connections: int
    handshakes: int
    requests: int
    resumed: int

    def __sub__(self, earlier: Self) -> _Counts:
        return _Counts(
            self.connections - earlier.connections,
            self.handshakes - earlier.handshakes,
            self.requests - earlier.requests,
            self.resumed - earlier.resumed,
        )


class Gateways:
    """All variants as running Envoys, and the nodes that they and their clients are on."""

    def __init__(self, plan: Plan, folder: Path, running: ExitStack) -> None:
        """Start them; they end with `running`. `folder` takes their files."""
        self._plan, self._folder = plan, folder
        places = running.enter_context(
            nodes(
                {
                    "client": plan.client_cpus,
                    "gateway": plan.gateway_cpus,
                    "server": plan.client_cpus,
                },
                isolated=plan.isolated,
            )
        )
        self._client, self._gateway = places["client"], places["gateway"]
        server = FortioServer(folder, places["server"]) if plan.server else None
        if server:
            running.enter_context(server)
        self._clusters = (Cluster("server", [server.address]),) if server else ()
        self._authority = CertAuthority(folder)
        self._setups = {name: ModuleSetup(folder / f"{name}.stats") for name in plan.variants}
        self._envoys = {name: running.enter_context(self._envoy(name)) for name in plan.variants}

    @property
    def commands(self) -> dict[str, str]:
        """Command lines of the Envoys."""
        return {name: shlex.join(envoy.command) for name, envoy in self._envoys.items()}

    def logs(self) -> dict[str, str]:
        """Return what the Envoys have logged."""
        return {name: envoy.log_text() for name, envoy in self._envoys.items()}

    def raw_result(self, tool: str) -> Path:
        """Return the file with the load generator's own account of its last run."""
        return self._folder / f"{tool}.json"

    def sample(self, case: Case, variant: Variant, repetition: int, seconds: float) -> Sample:
        """Give one load to one variant."""
        envoy, setup = self._envoys[variant], self._setups[variant]
        load = Load(
            url=envoy.url(case.key),
            seconds=seconds,
            connections=case.connections,
            rate=case.rate,
            tls=self._plan.tls,
            node=self._client,
        )
        counts, module = _counts(envoy, case.key), setup.read()
        used = envoy.cpu_seconds()
        result = _GENERATORS[case.tool](load, self._folder)
        used = envoy.cpu_seconds() - used
        delta = _counts(envoy, case.key) - counts
        after = setup.read()
        operations = after.ops.get(case.key, {})
        earlier = module.ops.get(case.key, {})
        done = {name: count - earlier.get(name, 0) for name, count in operations.items()}
        fill = after.fill.get(case.key, [])
        before = module.fill.get(case.key, [0] * len(fill))
        return Sample(
            repetition=repetition,
            variant=variant,
            key=case.key,
            tool=case.tool,
            loop="closed" if case.rate is None else "open",
            connections=case.connections,
            rate=case.rate,
            envoy_cpu_seconds=used,
            envoy_connections=delta.connections,
            envoy_handshakes=delta.handshakes,
            envoy_requests=delta.requests,
            envoy_resumed=delta.resumed,
            batched=done.get("batched", 0),
            single=done.get("single", 0),
            unsigned=done.get("failed", 0) + done.get("dropped", 0),
            fill=[now - then for now, then in zip(fill, before, strict=True)],
            **_of_client(result),
        )

    def _envoy(self, variant: Variant) -> EnvoyProcess:
        plan = self._plan
        setup = self._setups[variant]
        module = None
        if variant != "stock":
            module = setup.module() if variant == "module" else setup.module(policy="off")
        # No body: what is measured is the handshake.
        app = RouteTo("server") if plan.server else Respond(204, "")
        listeners = []
        for key in plan.keys:
            certificate = self._authority.issue(key, key=key, ips=(self._gateway.address,))
            tls = ServerTls(
                certificates=(certificate,),
                min_version=plan.tls,
                max_version=plan.tls,
                module=module,
            )
            listeners.append(Listener(key, (Chain(tls=tls, app=app),), self._gateway.address))
        return EnvoyProcess(
            Bootstrap(listeners=listeners, clusters=self._clusters),
            self._folder,
            name=variant,
            node=self._gateway,
            module_dir=artifacts.module_dir() if module else None,
            concurrency=max(1, len(plan.gateway_cpus)),
        )


def _counts(envoy: EnvoyProcess, listener: str) -> _Counts:
    found = envoy.stats(rf"^listener\.{listener}\.|^http\.http\.downstream_rq_total$")
    return _Counts(
        found.get(f"listener.{listener}.downstream_cx_total", 0),
        found.get(f"listener.{listener}.ssl.handshake", 0),
        found.get("http.http.downstream_rq_total", 0),
        found.get(f"listener.{listener}.ssl.session_reused", 0),
    )


def _of_client(result: LoadResult) -> dict[str, Any]:
    return {
        "handshakes": result.handshakes,
        "failed": result.failed - result.not_started,
        "not_started": result.not_started,
        "warm_up": result.warm_up,
        "seconds": result.seconds,
        "tls_p50_ms": result.tls.p50,
        "tls_p90_ms": result.tls.p90,
        "tls_p99_ms": result.tls.p99,
        "tls_p999_ms": result.tls.p999,
        "request_p50_ms": result.request.p50,
        "request_p90_ms": result.request.p90,
        "request_p99_ms": result.request.p99,
        "request_p999_ms": result.request.p999,
        "client_cpu_seconds": result.cpu_seconds,
        "command": shlex.join(result.command),
    }
