"""What is not rendered: code, place and mending; bad input never ends in a traceback."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from istio_kit.cli import cli
from istio_kit.errors import InputError
from istio_kit.model.load import load, parse, schema
from istio_kit.render import refuse
from istio_kit.render.select import render

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "render-refused"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_refused(path: Path) -> None:
    """A file's name begins with the code that it is to give."""
    result = CliRunner().invoke(cli, ["render", "-f", str(path)])
    assert (result.exit_code, result.stdout) == (65, "")
    assert re.findall(r"\[(MBK\d{4})\]", result.stderr) == [path.name[:7]]
    assert result.stderr.count("\n  mend: ") == 1
    assert CliRunner().invoke(cli, ["explain", "-f", str(path)]).exit_code == 65


def test_each_refusal_has_an_example() -> None:
    codes = set(re.findall(r'"(MBK\d{4})"', Path(refuse.__file__).read_text()))
    assert {path.name[:7] for path in EXAMPLES.glob("*.yaml")} == codes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "input.yaml: is not YAML: "),
        ("- a", "input.yaml: $: must be a mapping"),
        ("target: kong", "input.yaml: $.target: 'kong' is not one of"),
        ("istio: {version: 1.31}", "$.istio.version: 1.31 is not of type 'string'; mend its type"),
        ("scope: {gateway: {ports: [{port: 70000}]}}", "$.scope.gateway.ports[0].port: 70000 is"),
        ("module: {policy: fast}", "$.module.policy: 'fast' is not one of ['adaptive', 'off']"),
        ("colour: red", "$: Additional properties are not allowed ('colour' was unexpected)"),
        ("name: Big", "$.name: 'Big' does not match"),
        ("delivery: {path: opt}", "$.delivery.path: 'opt' does not match"),
    ],
)
def test_bad_documents(tmp_path: Path, text: str, message: str) -> None:
    source = tmp_path / "input.yaml"
    source.write_text(text)
    result = CliRunner().invoke(cli, ["render", "-f", str(source)])
    assert (result.exit_code, result.stdout) == (65, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("scope", "must be path=value"),
        (".a=1", "must be path=value"),
        ("name.x.y=1", "leads through a value that has no fields"),
        ("name=[", "the value is not YAML"),
    ],
)
def test_bad_changes(tmp_path: Path, change: str, message: str) -> None:
    source = tmp_path / "input.yaml"
    source.write_text("name: x")
    result = CliRunner().invoke(cli, ["render", "-f", str(source), "--set", change])
    assert result.exit_code == 65
    assert message in result.stderr


def test_missing_and_binary_files(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["render", "-f", str(tmp_path / "none")])
    assert result.exit_code == 65
    assert "cannot be read" in result.stderr
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\x00")
    assert "is not UTF-8" in CliRunner().invoke(cli, ["render", "-f", str(binary)]).stderr


_FIELDS = st.sampled_from(sorted(schema()["properties"]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted(schema()["properties"])) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_is_rendered_or_refused(tmp_path_factory: Any, text: str) -> None:  # noqa: ANN401
    source = tmp_path_factory.mktemp("fuzz") / "x.yaml"
    source.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(InputError):
        render(load(str(source)))


@given(st.dictionaries(_FIELDS, _JSON, max_size=4))
@settings(max_examples=500, deadline=None)
def test_any_document_is_rendered_or_refused(document: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        render(parse(document, "x"))


def _valid(part: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a part of the schema, so that the rendering itself is reached."""
    if "enum" in part:
        return st.sampled_from(part["enum"])
    if part.get("type") == "object" and "properties" in part:
        fields = {name: _valid(inner) for name, inner in part["properties"].items()}
        required = {name: fields.pop(name) for name in part.get("required", [])}
        return st.fixed_dictionaries(required, optional=fields)
    if part.get("type") == "object":
        return st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
    if part.get("type") == "array":
        return st.lists(_valid(part["items"]), min_size=part.get("minItems", 0), max_size=2)
    if part.get("type") == "boolean":
        return st.booleans()
    examples = {
        "#/$defs/name": ["a", "istio-x"],
        "#/$defs/image": ["a/b:1"],
        "#/$defs/path": ["/a"],
        "#/$defs/port": [1, 443, 65535],
    }
    known = examples.get(part.get("$ref", ""))
    return st.sampled_from(known or ["1.26", "1.31.2", "1.32", "9.9", "5ms", "1s", "x.y", "-"])


@given(_valid(schema()))
@settings(max_examples=500, deadline=None)
def test_valid_documents_are_rendered_or_refused(document: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        documents = render(parse(document, "x"))
        assert documents
        for one in documents:
            assert yaml.safe_load(yaml.safe_dump(one.body)) == one.body
