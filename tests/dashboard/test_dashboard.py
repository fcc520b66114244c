"""The dashboard: as it was reviewed, and over metrics that a real Envoy has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from envoy_ext import artifacts
from istio_kit.cli import cli
from istio_kit.dashboard.panels import PANELS, PREFIX
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

GOLDEN = Path(__file__).parents[1] / "golden" / "dashboard" / "grafana.json"


def test_golden() -> None:
    done = CliRunner().invoke(cli, ["dashboard"])
    assert done.exit_code == 0
    assert done.stdout == GOLDEN.read_text()
    panels = json.loads(done.stdout)["panels"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in PANELS]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_every_metric_is_one_of_envoys(tmp_path: Path) -> None:
    ca, setup = CertAuthority(tmp_path), ModuleSetup(tmp_path / "stats")
    tls = ServerTls(certificates=(ca.issue("server", key="p256"),), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),), metrics=Metrics())
    with EnvoyProcess(config, tmp_path, module_dir=artifacts.module_dir()) as envoy:
        load = Load(url=envoy.url("tls"), seconds=0.5, connections=32, ca=ca.cert)
        assert run_k6(load, tmp_path).failed == 0
        envoy.get("/multibuffer")
        text = envoy.get("/stats/prometheus")
    there = set(re.findall(rf"^({PREFIX}\w+)\{{", text, re.MULTILINE))
    used = {
        name
        for panel in PANELS
        for query in panel.queries.values()
        for name in re.findall(rf"{PREFIX}\w+", query)
    }
    assert used
    # A machine that cannot batch has no histogram of batches.
    assert used - there <= {f"{PREFIX}batch_fill_sum", f"{PREFIX}batch_fill_count"}
    if setup.settings().get("policy") != "off":
        assert used <= there
