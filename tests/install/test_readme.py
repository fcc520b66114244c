"""The README is true: its YAML runs, its table is the tables', its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from envoy_ext import artifacts, cpu, support, table
from envoy_ext.__main__ import cli as envoy_ext_cli
from istio_kit import errors
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Chain,
    EnvoyProcess,
    Listener,
    Load,
    ServerTls,
    run_k6,
)

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_support_table_is_that_of_the_tables() -> None:
    found = re.search(r"<!-- support-table -->\n(.*)<!-- /support-table -->", README, re.DOTALL)
    assert found
    assert found[1] == support.markdown([table.load(path) for path in table.table_paths()])


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_commands_exist() -> None:
    for name in set(re.findall(r"python -m envoy_ext ([a-z-]+)", README)):
        assert name in envoy_ext_cli.commands


def test_exit_codes_are_those_of_the_code() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    values = {value for name, value in vars(errors).items() if re.match(r"EXIT_[A-Z_]+$", name)}
    assert listed == {value for value in values if isinstance(value, int)}


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_yaml_works_in_envoy(tmp_path: Path) -> None:
    """As written, with the folder that the README's command makes."""
    found = re.search(r"```yaml\n(.*?custom_handshaker.*?)```", README, re.DOTALL)
    assert found
    snippet = yaml.safe_load(textwrap.dedent(found[1]))
    staged = tmp_path / "opt"
    subprocess.run([sys.executable, "-m", "envoy_ext", "stage", staged], check=True)
    ca = CertAuthority(tmp_path)
    tls = ServerTls(certificates=(ca.issue("server"),))
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),)).as_dict()
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    chain["transport_socket"]["typed_config"]["common_tls_context"].update(snippet)
    with EnvoyProcess(config, tmp_path, module_dir=staged) as envoy:
        load = Load(url=envoy.url("tls"), seconds=0.5, connections=8, ca=ca.cert)
        result = run_k6(load, tmp_path)
        assert result.failed == 0
        envoy.stop()
    if reason := cpu.ifma_reason():
        assert f"{reason}; standing aside" in envoy.log_text()
    else:
        (total,) = re.findall(r"batched (\d+), single (\d+), failed 0", envoy.log_text())
        assert sum(map(int, total)) == result.handshakes
    assert artifacts.module_dir() != staged
