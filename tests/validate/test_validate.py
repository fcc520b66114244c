"""Every finding has an example; what is rendered has no error; nothing ends in a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from istio_kit.cli import cli
from istio_kit.validate import codes, schemas
from istio_kit.validate.check import Options, check
from istio_kit.validate.documents import Document

TESTS = Path(__file__).resolve().parents[1]
POSITIVE = sorted((TESTS / "examples/validate/positive").glob("*.yaml"))
NEGATIVE = sorted((TESTS / "examples/validate/negative").glob("*.yaml"))
GOLDEN = TESTS / "golden/render"
LIVE = {"MBK0220", "MBK0221", "MBK0222"}  # test_live.py


def run(*arguments: str, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["validate", *arguments], input=stdin, prog_name="istio_kit")
    return result.exit_code, result.stdout, result.stderr


def found_in(path: Path, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    code, out, _ = run("-f", str(path), "-o", "json", *arguments)
    return code, json.loads(out)["findings"]


@pytest.mark.parametrize("path", POSITIVE, ids=lambda path: path.stem)
def test_positive(path: Path) -> None:
    assert found_in(path, "--strict") == (0, [])


@pytest.mark.parametrize("path", NEGATIVE, ids=lambda path: path.stem)
def test_negative(path: Path) -> None:
    code, findings = found_in(path, "--strict", "--istio-version", "1.29.2")
    assert code == 79
    expected = path.stem.partition("-")[0]
    others = {"MBK0201"} if expected == "MBK0218" else set()
    assert {one["code"] for one in findings} - others == {expected}
    for one in findings:
        assert one["where"].startswith(f"{path}::$")
        assert one["severity"] == codes.RULES[one["code"]].severity
        assert one["mend"]


def test_every_finding_has_an_example() -> None:
    assert {path.stem.partition("-")[0] for path in NEGATIVE} | LIVE == set(codes.RULES)


def test_what_is_rendered_has_no_error() -> None:
    code, findings = found_in(GOLDEN)
    assert [one for one in findings if one["severity"] == "error"] == []
    assert code == 0
    # Whether these are harmful depends on what a manifest does not say.
    assert {one["code"] for one in findings} == {"MBK0216", "MBK0223"}


def test_warnings_count_only_when_strict() -> None:
    (path,) = (path for path in NEGATIVE if path.stem.startswith("MBK0223"))
    assert found_in(path)[0] == 0
    assert found_in(path, "--strict")[0] == 79


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_exit_code_is_that_of_findings_in_every_format(form: str) -> None:
    code, out, err = run("-f", str(TESTS / "examples/validate/negative"), "-o", form)
    assert code == 79
    assert "MBK0204" in out
    assert "errors: " in err


def test_sarif() -> None:
    path = next(path for path in NEGATIVE if path.stem.startswith("MBK0208"))
    log = json.loads(run("-f", str(path), "-o", "sarif")[1])
    (ran,) = log["runs"]
    assert log["version"] == "2.1.0"
    assert [rule["id"] for rule in ran["tool"]["driver"]["rules"]] == list(codes.RULES)
    (result,) = ran["results"]
    (location,) = result["locations"]
    assert (result["ruleId"], result["level"]) == ("MBK0208", "error")
    assert location["physicalLocation"]["artifactLocation"]["uri"] == str(path)
    assert location["logicalLocations"][0]["fullyQualifiedName"].startswith("$.spec")


def test_standard_input_and_several_documents() -> None:
    good, bad = POSITIVE[0].read_text(), NEGATIVE[0].read_text()
    code, out, _ = run("-f", "-", stdin=f"{good}\n---\n{bad}")
    assert code == 79
    assert out.startswith("(stdin) (document 2)::$")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: [", "not YAML"),
        (b"\xff\xfe\xfa", "not YAML"),
        (b"a: 2026-99-99", "not YAML"),
        (b"a: !!python/object:os.system {}", "not YAML"),
        (b"[" * 5000, "not YAML"),
    ],
)
def test_what_is_not_yaml_is_bad_input(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    code, out, err = run("-f", str(path))
    assert (code, out) == (65, "")
    assert err.startswith(f"Error: {path}: {message}")


def test_bad_places(tmp_path: Path) -> None:
    code, _, err = run("-f", str(tmp_path / "none.yaml"))
    assert (code, "No such file" in err) == (65, True)
    code, _, err = run("-f", str(tmp_path))
    assert (code, "no file there ends in" in err) == (65, True)
    code, _, err = run("-f", str(POSITIVE[0]), "--istio-version", "new")
    assert (code, "--istio-version" in err) == (65, True)


def test_schemas_name_their_sources() -> None:
    folder = Path(schemas.__file__).parent / "schemas"
    names = {path.stem for path in folder.glob("*.json")} - {"sources"}
    assert names == set(schemas.sources())
    assert all(schemas.sources().values())


def test_documentation_lists_every_code() -> None:
    text = (TESTS.parent / "docs/checks.md").read_text()
    found = re.search(r"<!-- codes -->\n(.*)<!-- /codes -->", text, re.DOTALL)
    assert found
    assert found[1] == codes.markdown()


KEYS = st.sampled_from(
    "apiVersion kind metadata annotations spec configPatches applyTo match context listener "
    "filterChain patch value operation transport_socket typed_config @type type_url meshConfig "
    "defaultConfig privateKeyProvider cryptomb pollDelay static_resources listeners admin data "
    "mesh deployment proxy.istio.io/config sidecar.istio.io/userVolume items".split()
)
WORDS = st.sampled_from(
    [
        "EnvoyFilter",
        "ConfigMap",
        "ProxyConfig",
        "EnvoyPatchPolicy",
        "List",
        "networking.istio.io/v1alpha3",
        "v1",
        "MERGE",
        "FILTER_CHAIN",
        "CLUSTER",
        "type.googleapis.com/xds.type.v3.TypedStruct",
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text() | st.dates()
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS | st.text(max_size=3) | st.integers(), inner, max_size=5)
    ),
    max_leaves=30,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=TREES)
def test_any_document_gives_findings_only(data: object) -> None:
    for one in check(Document("x", data), Options("1.31")):
        assert one.code in codes.RULES


EXAMPLES = [yaml.safe_load(path.read_text()) for path in [*POSITIVE, *NEGATIVE]]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(example=st.sampled_from(EXAMPLES), draw=st.data())
def test_any_part_of_an_example_may_be_anything(example: object, draw: st.DataObject) -> None:
    """Put a random value in a random place of a document that nearly makes sense."""
    document = json.loads(json.dumps(example))
    node = document
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = draw.draw(st.sampled_from(list(keys)))
        if not isinstance(node[key], dict | list) or draw.draw(st.integers(0, 3)) == 0:
            node[key] = draw.draw(TREES)
            break
        node = node[key]
    for one in check(Document("x", document), Options("1.31")):
        assert one.code in codes.RULES


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_end_with_a_documented_code(data: bytes) -> None:
    code, _, err = run("-f", "-", stdin=data)
    assert code in (0, 65, 79)
    assert "Traceback" not in err
