"""`istio_kit top` against real Envoys under load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envoy_ext import artifacts
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Chain,
    EnvoyProcess,
    Listener,
    Load,
    Metrics,
    ServerTls,
    run_k6,
)
from istio_kit.lab.module import ModuleSetup


def top(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "istio_kit", "top", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "160", **({"PATH": path} if path else {})},
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertAuthority:
    return CertAuthority(tmp_path_factory.mktemp("top-ca"))


@pytest.fixture(scope="module")
def envoy(
    authority: CertAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EnvoyProcess]:
    folder = tmp_path_factory.mktemp("top")
    setup = ModuleSetup(folder / "stats")
    tls = ServerTls(certificates=(authority.issue("server", key="p256"),), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),), metrics=Metrics())
    with EnvoyProcess(config, folder, module_dir=artifacts.module_dir()) as running:
        yield running


def admin(envoy: EnvoyProcess) -> str:
    return envoy.log_path.with_suffix(".admin").read_text()


def test_rates_agree_with_the_client(
    envoy: EnvoyProcess, authority: CertAuthority, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "istio_kit", "top", "-o", "json", "--interval", "1", admin(envoy)],
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        idle = json.loads(watching.stdout.readline())[0]
        assert idle["operations_per_second"] == 0
        assert idle["batched_share"] is None
        load = Load(url=envoy.url("tls"), seconds=1.5, connections=16, ca=authority.cert)
        handshakes = run_k6(load, tmp_path).handshakes
        seen = 0.0
        while seen < handshakes:
            one = json.loads(watching.stdout.readline())[0]
            gained = one["operations_per_second"] * one["seconds"]
            assert gained > 0, "quiet before all handshakes were seen"
            seen += gained
            assert 0 <= one["batched_share"] <= 1
            assert one["cpu_cores"] > 0
        assert round(seen) == handshakes
        watching.terminate()


def test_table(envoy: EnvoyProcess) -> None:
    done = top("--once", "--interval", "0.2", f"http://{admin(envoy)}")
    assert done.returncode == 0, done.stderr
    assert "operations/s" in done.stdout
    assert "1 hooked" in done.stdout


def kubectl(folder: Path, script: str) -> str:
    """Put a stand-in for kubectl on a path: there is no cluster here."""
    tool = folder / "kubectl"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_pod_is_reached_through_kubectl(envoy: EnvoyProcess, tmp_path: Path) -> None:
    port = admin(envoy).rpartition(":")[2]
    said = tmp_path / "arguments"
    script = f'echo "$@" > {said}\necho "Forwarding from 127.0.0.1:{port} -> 15000"\nexec sleep 60'
    done = top(
        *("--once", "-o", "json", "--interval", "0.2", "pod/gw-1@ingress"),
        path=kubectl(tmp_path, script),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["contexts_hooked"] == 1
    assert said.read_text() == "port-forward --namespace ingress pod/gw-1 :15000\n"


def test_refusals(envoy: EnvoyProcess, tmp_path: Path) -> None:
    wrong = top("--once", "my gateway")
    assert wrong.returncode == 65
    assert "neither an admin URL" in wrong.stderr
    closed = top("--once", "127.0.0.1:1")
    assert closed.returncode == 1
    assert "127.0.0.1:1: no answer from Envoy's admin interface" in closed.stderr
    failing = top("--once", "pod/x", path=kubectl(tmp_path, "echo 'pods \"x\" not found'"))
    assert failing.returncode == 1
    assert 'kubectl port-forward failed: pods "x" not found' in failing.stderr
    for done in (wrong, closed, failing):
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
    assert envoy.returncode is None


def test_proxy_without_the_extension(tmp_path: Path) -> None:
    config = Bootstrap(listeners=(Listener("plain", (Chain(),)),))
    with EnvoyProcess(config, tmp_path) as plain:
        done = top("--once", admin(plain))
    assert done.returncode == 1
    assert "no page /multibuffer; add the bootstrap extension" in done.stderr
