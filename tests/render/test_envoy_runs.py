"""What is rendered for plain Envoy runs in it, and the module signs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cases import CASES

from envoy_ext import artifacts, cpu
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    Cluster,
    EnvoyProcess,
    Listener,
    Load,
    RouteTo,
    Secret,
    ServerTls,
    run_k6,
    write_secret,
)

Json = dict[str, Any]

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "render"
PLAIN = [name for name, case in CASES.items() if case.get("target") == "envoy"]


@pytest.fixture(scope="module")
def module_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a user would fill it."""
    folder = tmp_path_factory.mktemp("opt") / "multibuffer"
    subprocess.run([sys.executable, "-m", "envoy_ext", "stage", folder], check=True)
    return folder


def localised(case: str, folder: Path, pair: Certificate, ca: CertAuthority) -> Json:
    """The golden file with this test's files and free ports in it."""
    (document,) = yaml.safe_load_all((GOLDEN / f"{case}.yaml").read_text())
    text = json.dumps(document)
    for rendered, here in (
        ("/etc/envoy/tls/tls.crt", pair.cert),
        ("/etc/envoy/tls/tls.key", pair.key),
        ("/etc/envoy/tls/ca.crt", ca.cert),
        ("/etc/envoy/tls/sds.yaml", folder / "sds.json"),
    ):
        text = text.replace(json.dumps(rendered), json.dumps(str(here)))
    assert "/etc/envoy" not in text
    write_secret(Secret("server", folder / "sds.json"), pair)
    text = re.sub(r'"port_value": (8443|9901)', '"port_value": 0', text)
    found: Json = json.loads(text)
    return found


def bootstrap_of(case: str, document: Json, upstream: tuple[str, int]) -> Json:
    """A whole configuration: the golden one, or the golden fragment in one of the lab's."""
    host, port = upstream
    if "bootstrap" in case:
        text = json.dumps(document).replace('"port_value": 8080', f'"port_value": {port}')
        whole: Json = json.loads(text)
        return whole
    cluster = Cluster("upstream", [(host, port)])
    config = Bootstrap(
        listeners=(Listener("ingress", (Chain(app=RouteTo("upstream")),)),), clusters=(cluster,)
    ).as_dict()
    resources = config["static_resources"]
    holder = resources["listeners"][0]["filter_chains"] if "downstream" in case else None
    (holder or resources["clusters"])[0].update(document)
    return config


@pytest.mark.parametrize("case", PLAIN)
def test_golden_signs(case: str, tmp_path: Path, module_dir: Path) -> None:
    ca = CertAuthority(tmp_path)
    server, client = ca.issue("server"), ca.issue("client", usage="client")
    downstream = "downstream" in case
    document = localised(case, tmp_path, server if downstream else client, ca)
    up_tls = ServerTls(certificates=(server,), trusted_ca=ca.cert, require_client_certificate=True)
    up_config = Bootstrap(listeners=(Listener("up", (Chain(tls=None if downstream else up_tls),)),))
    with EnvoyProcess(up_config, tmp_path, name="up") as up:
        config = bootstrap_of(case, document, up.address("up"))
        with EnvoyProcess(config, tmp_path, module_dir=module_dir) as envoy:
            load = Load(
                url=envoy.url("ingress", "https" if downstream else "http").replace(
                    "0.0.0.0", "127.0.0.1"
                ),
                seconds=0.5,
                connections=4,
                ca=ca.cert,
                client_certificate=client if downstream else None,
            )
            result = run_k6(load, tmp_path)
            assert result.failed == 0
            assert result.handshakes > 0
            assert envoy.stop() == 0
    log = envoy.log_text()
    if reason := cpu.ifma_reason():
        assert f"{reason}; standing aside" in log
        return
    batched, single = re.findall(r"batched (\d+), single (\d+), failed 0", log)[-1]
    signed = int(batched) + int(single)
    # Upstream connections are kept, so that one signature serves many requests.
    assert signed == result.handshakes if downstream else signed > 0
    assert artifacts.module_dir() != module_dir
