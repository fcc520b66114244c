"""What is rendered, word for word. `make goldens` writes the files anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from cases import CASES
from click.testing import CliRunner

from istio_kit.cli import cli
from istio_kit.istio.releases import RELEASES, version_guard
from istio_kit.model.load import load
from istio_kit.render.document import dump, to_yaml
from istio_kit.render.explain import explain
from istio_kit.render.select import render

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "render"
REFRESH = os.environ.get("REFRESH_GOLDEN") == "1"


@pytest.mark.parametrize("case", CASES)
def test_rendered_text(case: str, tmp_path: Path) -> None:
    source = tmp_path / "input.yaml"
    source.write_text(dump(CASES[case]))
    text = to_yaml(render(load(str(source))))
    golden = GOLDEN / f"{case}.yaml"
    if REFRESH:
        golden.write_text(f"# Input: {_one_line(case)}\n{text}")
    assert golden.read_text() == f"# Input: {_one_line(case)}\n{text}"
    assert text.endswith("\n")


def _one_line(case: str) -> str:
    flow = yaml.safe_dump(CASES[case], default_flow_style=True, width=10_000)
    return flow.strip()


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_each_document_is_explained(case: str, tmp_path: Path) -> None:
    source = tmp_path / "input.yaml"
    source.write_text(dump(CASES[case]))
    wanted = load(str(source))
    text = explain(wanted)
    for document in render(wanted):
        assert f"{document.file}: " in text
        assert document.use in text
        assert document.why


def test_stdout_stdin_json_and_folder_agree(tmp_path: Path) -> None:
    source = dump(CASES["module-gateway-gateway-api-image-volume-1.32"])
    runner = CliRunner()
    printed = runner.invoke(cli, ["render", "-f", "-"], input=source)
    assert (printed.exit_code, printed.stderr) == (0, "")
    listed = runner.invoke(cli, ["render", "-f", "-", "-o", "json"], input=source)
    documents = yaml.safe_load(listed.stdout)
    assert [entry["document"] for entry in documents] == list(yaml.safe_load_all(printed.stdout))
    folder = tmp_path / "out"
    written = runner.invoke(cli, ["render", "-f", "-", "--output-dir", str(folder)], input=source)
    assert (written.exit_code, written.stdout) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [one["file"] for one in documents]
    for entry in documents:
        assert yaml.safe_load((folder / entry["file"]).read_text()) == entry["document"]


def test_options_are_short_for_set() -> None:
    runner = CliRunner()
    image = ["-s", "istio.proxy_image=x/y:1"]
    short = runner.invoke(
        cli, ["render", "--scope", "mesh", "--istio-version", "1.31", "--delivery", "image", *image]
    )
    long = ["-s", "scope.kind=mesh", "-s", "istio.version='1.31'", "-s", "delivery.kind=image"]
    assert short.exit_code == 0, short.stderr
    assert short.stdout == runner.invoke(cli, ["render", *long, *image]).stdout


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("kept")
    arguments = ["render", "--target", "envoy", "--output-dir"]
    result = CliRunner().invoke(cli, [*arguments, str(taken / "below")])
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert taken.read_text() == "kept"


@pytest.mark.parametrize(
    ("version", "meant"),
    [
        ("1.31.0", True),
        ("1.31.4-rc.1", True),
        ("1.31-alpha.80c74f7f", True),
        ("1.3.1", False),
        ("1.310.0", False),
        ("1.32.0", False),
    ],
)
def test_patches_are_for_proxies_of_one_minor(version: str, *, meant: bool) -> None:
    assert bool(re.search(version_guard(RELEASES["1.31"]), version)) == meant
