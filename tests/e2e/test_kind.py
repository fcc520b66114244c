"""What of the kind driver can be checked without a container engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import kind, kind_objects
from e2e.kind import Cluster, KindDriver, KindOptions
from e2e.scenario import SCENARIOS
from istio_kit.lab import CertAuthority, LabError, Load
from istio_kit.lab.gotools import ISTIOCTL, KIND, find, go_tool
from istio_kit.lab.k6 import k6_path

ROOT = Path(__file__).parents[2]
LOAD = Load(url=kind_objects.URL, seconds=2, connections=8)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Records the commands instead of running them."""
    done: list[list[str]] = []

    def record(command: list[str], *, stdin: str | None = None) -> str:
        done.append([*command, *([stdin] if stdin else [])])
        return ""

    monkeypatch.setattr(kind, "run", record)
    monkeypatch.setattr(kind, "go_tool", lambda tool: Path(tool.name))
    return done


def test_sequence(steps: list[list[str]]) -> None:
    (scenario,) = [one for one in SCENARIOS if one.name == "gateway-rsa2048-tls1.3"]
    with KindDriver().deploy(scenario):
        pass
    words = [" ".join(step[:3]) for step in steps]
    assert words[0] == "kind create cluster"
    assert words[1:3] == ["kind load docker-image"] * 2
    assert words[3] == "istioctl install -y"
    assert words[-1] == "kind delete cluster"
    patched = next(step for step in steps if "patch" in step)
    assert patched[patched.index("patch") :][:3] == ["patch", "deployment", "istio-ingressgateway"]


def test_cluster_is_deleted_after_a_failure(
    steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Cluster) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cluster, "create", fail)
    with pytest.raises(KeyboardInterrupt), KindDriver().deploy(SCENARIOS[0]):
        pass
    assert [step[:3] for step in steps] == [["kind", "delete", "cluster"]]


def test_a_failing_step_is_told() -> None:
    with pytest.raises(LabError, match="ls /nonexistent"):
        kind.run(["ls", "/nonexistent"])


@pytest.mark.istio
def test_istio_accepts_the_objects(tmp_path: Path) -> None:
    for scenario in SCENARIOS:
        if KindDriver().runs(scenario):
            path = tmp_path / f"{scenario.name}.yaml"
            path.write_text(yaml.safe_dump_all(kind_objects.routes(scenario)))
    assert len(list(tmp_path.iterdir())) == 10
    kind_objects.render(tmp_path / "rendered", KindOptions())
    command = [str(go_tool(ISTIOCTL)), "validate", "-f", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_certificate_becomes_a_secret(tmp_path: Path) -> None:
    certificate = CertAuthority(tmp_path).issue("gateway", key="p256")
    data = kind_objects.secret(certificate)["stringData"]
    assert data["tls.crt"].startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE KEY" in data["tls.key"]


def script_of(job: dict[str, Any]) -> str:
    return str(job["spec"]["template"]["spec"]["containers"][0]["command"][-1])


def test_k6_is_spread_over_pods() -> None:
    config, job = kind_objects.load_job("k6", LOAD, replace(KindOptions(), segments=3))
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (3, 3)
    assert "--execution-segment-sequence 0,1/3,2/3,1 " in script_of(job)
    assert kind_objects.URL in config["data"]["load.js"]
    (single,) = [
        one for one in kind_objects.load_job("k6", LOAD, KindOptions()) if one["kind"] == "Job"
    ]
    assert "--execution-segment-sequence 0,1 " in script_of(single)


def test_k6_accepts_its_segments(tmp_path: Path) -> None:
    """The real k6 takes the options that a pod gets, up to the server that is not there."""
    config, job = kind_objects.load_job(
        "k6",
        replace(LOAD, url="https://127.0.0.1:1/", seconds=0.2),
        replace(KindOptions(), segments=2),
    )
    (tmp_path / "load.js").write_text(config["data"]["load.js"])
    script = (
        script_of(job).replace("/script/", f"{tmp_path}/").replace("exec k6", f"exec {k6_path()}")
    )
    for index in "01":
        done = subprocess.run(
            ["sh", "-c", script],
            env={"JOB_COMPLETION_INDEX": index, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result = kind_objects.result_of("k6", replace(LOAD, connections=4), [done.stdout])
        assert result.handshakes == 0
        assert result.failed >= 4


def test_pods_add_up() -> None:
    def values(**more: float) -> dict[str, Any]:
        return {"values": more}

    def log(rate: float, p99: float) -> str:
        trend = {"med": 1, "p(90)": 2, "p(99)": p99, "p(99.9)": 9}
        metrics = {
            "http_reqs": values(count=100, rate=rate),
            "http_req_failed": values(passes=1),
            "iterations": values(count=8),
            "http_req_tls_handshaking": {"values": trend},
            "whole_request": {"values": trend},
        }
        return "some words\n" + json.dumps(metrics)

    result = kind_objects.result_of("k6", LOAD, [log(50, 3), log(25, 5)])
    assert (result.handshakes, result.failed) == (198, 2)
    assert result.tls.p99 == 5
    assert result.rate == pytest.approx(99 / 2 + 99 / 4)


def test_missing_parts_end_it_at_once() -> None:
    lacking = KindDriver().missing()
    if not lacking:
        pytest.skip("kind could run here")
    command = [sys.executable, "-m", "pytest", "e2e", "--driver", "kind", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    text = done.stdout + done.stderr
    assert "the driver kind lacks:" in text
    assert all(line in text for line in lacking)


def test_every_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(kind, "find", lambda _: None)
    names = [line.split(":")[0] for line in KindDriver().missing()]
    assert names == ["docker", "kubectl", "kind", "istioctl"]


@pytest.mark.skipif(find(KIND) is None, reason="kind is not built")
def test_version_of_kind() -> None:
    done = subprocess.run([go_tool(KIND), "version"], capture_output=True, text=True, check=True)
    assert KIND.version in done.stdout


@pytest.mark.skipif(find(KIND) is None, reason="kind is not built")
@pytest.mark.parametrize("more", [{}, {"nodez": 1}])
def test_kind_reads_our_configuration(tmp_path: Path, more: dict[str, int]) -> None:
    """It reads it before it looks for a container engine, which it is kept from finding."""
    path = tmp_path / "kind.yaml"
    path.write_text(yaml.safe_dump({**kind_objects.cluster("kindest/node:v1.35.0"), **more}))
    command = [str(go_tool(KIND)), "create", "cluster", "--config", str(path), "--name", "none"]
    done = subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert ("unable to decode config" in done.stderr) == bool(more), done.stderr
