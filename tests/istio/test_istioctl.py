"""Istio's own checks accept what is rendered for it: `make test-istio`."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from istio_kit.istio.releases import RELEASES
from istio_kit.lab.gotools import ISTIOCTL, ISTIOCTL_OLD, GoTool, go_tool

pytestmark = pytest.mark.istio

Json = dict[str, Any]

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "render"

#: Newest Istio that each of the programs belongs to.
PROGRAMS = {"1.31": ISTIOCTL, "1.30": ISTIOCTL_OLD}


def objects(golden: Path) -> list[Json]:
    """The objects of Istio's own kinds; the rest is for Helm, kubectl patch or Kubernetes."""
    documents = [one for one in yaml.safe_load_all(golden.read_text()) if one]
    return [one for one in documents if "istio.io/" in str(one.get("apiVersion", ""))]


def version_of(golden: Path) -> str:
    return golden.stem.rpartition("-")[2]


def goldens(newest: str) -> list[Path]:
    """Those of Istio up to a release that hold objects of Istio."""
    minors = list(RELEASES)
    wanted = minors[: minors.index(newest) + 1]
    return [
        path
        for path in sorted(GOLDEN.glob("*.yaml"))
        if version_of(path) in wanted and objects(path)
    ]


def run(tool: GoTool, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(go_tool(tool)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def write(folder: Path, name: str, documents: list[Json]) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path


@pytest.mark.parametrize("newest", PROGRAMS)
def test_validate_and_analyze_accept_every_golden(newest: str, tmp_path: Path) -> None:
    chosen = goldens(newest)
    assert len(chosen) >= 6 * 5  # six scopes in at least five releases
    for path in chosen:
        file = write(tmp_path, path.name, objects(path))
        done = run(PROGRAMS[newest], "validate", "-f", file)
        assert done.returncode == 0, f"{path.name}: {done.stdout}{done.stderr}"
        analyzed = run(PROGRAMS[newest], "analyze", "--use-kube=false", "--output", "json", file)
        assert analyzed.returncode == 0, f"{path.name}: {analyzed.stdout}{analyzed.stderr}"
        levels = {message["level"] for message in json.loads(analyzed.stdout or "[]")}
        assert "Error" not in levels, f"{path.name}: {analyzed.stdout}"


def without_transport_socket(document: Json) -> Json:
    changed = copy.deepcopy(document)
    for patch in changed["spec"].get("configPatches", []):
        patch["match"].get("listener", {}).get("filterChain", {}).pop("transportSocket", None)
    return changed


def test_newer_field_is_the_only_thing_that_1_31_does_not_know(tmp_path: Path) -> None:
    """There is no istioctl of 1.32 yet; what it adds is one field."""
    chosen = [path for path in sorted(GOLDEN.glob("module-*-1.32.yaml")) if objects(path)]
    assert chosen
    for path in chosen:
        done = run(ISTIOCTL, "validate", "-f", write(tmp_path, path.name, objects(path)))
        problems = [line for line in done.stderr.splitlines() if line.startswith("\t* ")]
        filters = [one for one in objects(path) if one["kind"] == "EnvoyFilter"]
        assert len(problems) == len(filters), done.stderr
        assert all('unknown field "transportSocket"' in line for line in problems)
        rest = [without_transport_socket(one) for one in objects(path)]
        done = run(ISTIOCTL, "validate", "-f", write(tmp_path, path.name, rest))
        assert done.returncode == 0, f"{path.name}: {done.stderr}"


def test_istioctl_does_check(tmp_path: Path) -> None:
    """The control: a direct @type is refused, which is why goldens use a TypedStruct."""
    (document,) = objects(GOLDEN / "module-mesh-image-1.32.yaml")
    broken = without_transport_socket(document)
    for patch in broken["spec"]["configPatches"]:
        socket = patch["patch"]["value"]["transport_socket"]
        handshaker = socket["typed_config"]["common_tls_context"]["custom_handshaker"]
        typed = handshaker["typed_config"]
        handshaker["typed_config"] = {"@type": typed["type_url"], **typed["value"]}
    done = run(ISTIOCTL, "validate", "-f", write(tmp_path, "broken.yaml", [broken]))
    assert done.returncode != 0
    assert "DynamicModuleTlsHandshaker" in done.stderr
