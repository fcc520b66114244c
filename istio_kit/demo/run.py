"""Runs the demo: two Envoys, one load, interleaved rounds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from envoy_ext import artifacts, cpu
from istio_kit.demo.data import TARGETS, Report, Sample, Target, summarise
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    Load,
    LoadResult,
    Node,
    Respond,
    ServerTls,
    host,
    run_k6,
)
from istio_kit.lab.config import TlsVersion
from istio_kit.lab.k6 import k6_path
from istio_kit.lab.module import ModuleSetup

_WARM_UP_SECONDS = 1.0
_CLIENT_BUSY = 0.95
_GATEWAY_IDLE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked of the demo."""

    seconds: float
    """Length of one sample; a round has two per number of connections."""
    rounds: int
    connections: int
    key: KeyType
    tls: TlsVersion
    gateway_cpu: int
    client_cpu: int

    @property
    def cases(self) -> list[int]:
        """Numbers of connections that are measured: the load asked for, and a lone client."""
        return list(dict.fromkeys((self.connections, 1)))


class Progress(Protocol):
    """Is told what goes on."""

    def expect(self, steps: int) -> None:
        """Tell how many steps there will be."""

    def step(self, text: str) -> None:
        """Tell that a step begins."""


def run(settings: Settings, progress: Progress) -> Report:
    """Measure, and judge what was measured.

    Raises:
        KitError: a part is missing, or a process cannot be run.
        MissingArtifactError: the module or Envoy is not there.
    """
    k6_path()  # before anything is started, so that a missing part is told at once
    reason = cpu.ifma_reason()
    with TemporaryDirectory(prefix="istio_kit-demo-") as folder, ExitStack() as running:
        bench = _Bench(settings, Path(folder), running)
        progress.expect(len(TARGETS) + settings.rounds * len(settings.cases) * len(TARGETS))
        for target in TARGETS:
            progress.step(f"warm-up, {target}")
            bench.sample(0, target, settings.connections, _WARM_UP_SECONDS)
        samples = list(_rounds(bench, settings, progress))
        return bench.report(samples, reason)


def _rounds(bench: _Bench, settings: Settings, progress: Progress) -> Iterator[Sample]:
    for number in range(1, settings.rounds + 1):
        for connections in settings.cases:
            for target in TARGETS:
                progress.step(
                    f"round {number}/{settings.rounds}, {connections} connections, {target}"
                )
                yield bench.sample(number, target, connections, settings.seconds)


class _Bench:
    """The two running Envoys and what is known of them."""

    def __init__(self, settings: Settings, folder: Path, running: ExitStack) -> None:
        self._settings = settings
        self._folder = folder
        self._module = ModuleSetup(folder / "module.stats")
        self._k6_command = ""
        certificate = CertAuthority(folder).issue("server", key=settings.key)
        self._envoys: dict[Target, EnvoyProcess] = {}
        for target in TARGETS:
            tls = ServerTls(
                certificates=(certificate,),
                min_version=settings.tls,
                max_version=settings.tls,
                module=self._module.module() if target == "module" else None,
            )
            # No body: what is measured is the handshake.
            listener = Listener("tls", (Chain(tls=tls, app=Respond(204, "")),))
            self._envoys[target] = running.enter_context(
                EnvoyProcess(
                    Bootstrap(listeners=(listener,)),
                    folder,
                    name=target,
                    module_dir=artifacts.module_dir() if target == "module" else None,
                    node=Node(cpus=(settings.gateway_cpu,)),
                )
            )

    def sample(self, number: int, target: Target, connections: int, seconds: float) -> Sample:
        """Load one Envoy for `seconds`."""
        envoy = self._envoys[target]
        load = Load(
            url=envoy.url("tls"),
            seconds=seconds,
            connections=connections,
            tls=self._settings.tls,
            node=Node(cpus=(self._settings.client_cpu,)),
        )
        counted = self._module.read()
        used = envoy.cpu_seconds()
        result = run_k6(load, self._folder)
        used = envoy.cpu_seconds() - used
        delta = self._module.read() - counted
        self._k6_command = shlex.join(result.command)
        key = self._settings.key
        of_module = target == "module"
        return _sample(
            number,
            target,
            connections,
            result,
            used,
            operations=dict(delta.ops.get(key, {})) if of_module else {},
            fill=list(delta.fill.get(key, [])) if of_module else [],
        )

    def report(self, samples: list[Sample], reason: str | None) -> Report:
        """Sum up."""
        settings = self._settings
        log = self._envoys["module"].log_text().splitlines()
        module_log = [line for line in log if "multibuffer" in line]
        counted = self._module.read()
        usable = host.usable_cpus()
        return Report(
            cpu={
                "model": host.cpu_model(),
                "usable": len(usable),
                "gateway": settings.gateway_cpu,
                "client": settings.client_cpu,
            },
            versions=host.versions(),
            settings=asdict(settings),
            batching=reason is None,
            reason=reason,
            module_log=module_log,
            keys={"hooked": counted.keys_hooked, "left": counted.keys_left},
            cases=summarise(samples),
            samples=samples,
            commands={
                **{name: shlex.join(envoy.command) for name, envoy in self._envoys.items()},
                "k6": self._k6_command,
            },
            notes=notes(settings, samples),
            problems=problems(samples, must_sign=reason is None),
        )


def _sample(
    number: int,
    target: Target,
    connections: int,
    result: LoadResult,
    envoy_cpu_seconds: float,
    *,
    operations: dict[str, int],
    fill: list[int],
) -> Sample:
    return Sample(
        round=number,
        target=target,
        connections=connections,
        handshakes=result.handshakes,
        failed=result.failed,
        seconds=result.seconds,
        tls_p50_ms=result.tls.p50,
        tls_p90_ms=result.tls.p90,
        tls_p99_ms=result.tls.p99,
        request_p50_ms=result.request.p50,
        request_p90_ms=result.request.p90,
        request_p99_ms=result.request.p99,
        envoy_cpu_seconds=envoy_cpu_seconds,
        client_cpu_seconds=result.cpu_seconds,
        operations=operations,
        fill=fill,
    )


def notes(settings: Settings, samples: list[Sample]) -> list[str]:
    """Say what limits the figures."""
    notes = []
    if settings.gateway_cpu == settings.client_cpu:
        notes.append("Envoy and the load generator share one CPU: rates and times are of both")
    bound = [
        sample
        for sample in samples
        if sample.connections > 1
        and sample.client_cpu_seconds > _CLIENT_BUSY * sample.seconds
        and sample.envoy_cpu_seconds < _GATEWAY_IDLE * sample.seconds
    ]
    if bound:
        notes.append(
            f"in {len(bound)} of {len(samples)} samples the load generator's CPU was busy and "
            "Envoy's was not: Envoy could have done more"
        )
    return notes


def problems(samples: list[Sample], *, must_sign: bool) -> list[str]:
    """Say what must not be: failed handshakes, or handshakes that the module did not sign."""
    problems = []
    for sample in samples:
        where = f"round {sample.round}, {sample.connections} connections, {sample.target}"
        if sample.failed:
            problems.append(f"{where}: {sample.failed} handshakes failed")
        if not sample.handshakes:
            problems.append(f"{where}: no handshake succeeded")
        # k6 finishes its last requests before it ends, so that nothing is in flight here.
        if must_sign and sample.target == "module" and sample.signed < sample.handshakes:
            problems.append(
                f"{where}: the module signed {sample.signed} of {sample.handshakes} handshakes"
            )
    return problems
