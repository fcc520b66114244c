"""The tables of Envoy releases: what is accepted, and what the errors say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envoy_ext import support, table

Change = Callable[[dict[str, Any]], None]
Write = Callable[[dict[str, Any]], Path]


def test_all_tables_load() -> None:
    loaded = [table.load(path) for path in table.table_paths()]
    assert [one.envoy for one in loaded] == [path.stem for path in table.table_paths()]
    for one in loaded:
        for release in one.releases:
            layout = one.layout_of(release.build_id)
            assert layout is not None
            assert layout.abi_version == one.abi_version
            assert tuple(layout.offsets) == table.layout_fields()


def test_offsets_that_were_read_by_hand() -> None:
    """In the release binary of Envoy 1.40.0, before there was a prober."""
    offsets = table.load(table.TABLES / "1.40.yaml").layouts[0].offsets
    known = {"ctx_cert": 0x150, "cert_cred": 0x18, "cred_pubkey": 0x8, "cred_privkey": 0x10}
    known |= {"cred_method": 0x18, "pkey_key": 0x8, "rsa_n": 0x10, "rsa_iqmp": 0x48}
    known |= {"bn_limbs": 0x0, "bn_width": 0x8, "bn_alloc": 0xC}
    assert {field: offsets[field] for field in known} == known


def _set(*path: str | int, value: object) -> Change:
    def change(document: Any) -> None:  # noqa: ANN401 - a YAML document
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


def _drop(*path: str | int) -> Change:
    def change(document: Any) -> None:  # noqa: ANN401 - a YAML document
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return change


CONFIG_NEW = ("hooks", "on_tls_handshaker_config_new")
BROKEN = {
    "missing part": (_drop("hooks"), "top level: 'hooks' is a required property; add it"),
    "unknown field": (_set("colour", value=1), "'colour' was unexpected); remove it"),
    "version without quotes": (_set("envoy", value=1.4), r"envoy: 1.4 is not of type 'string'"),
    "odd offset": (_set("layouts", 0, "offsets", "rsa_n", value=3), "layouts[0].offsets.rsa_n: 3"),
    "negative offset": (_set("layouts", 0, "offsets", "rsa_n", value=-8), "offsets.rsa_n: -8"),
    "offset forgotten": (_drop("layouts", 0, "offsets", "io_fd"), "'io_fd' is a required"),
    "unknown role": (_set(*CONFIG_NEW, "params", value=["name", "smell"]), "'smell'"),
    "role forgotten": (
        _set(*CONFIG_NEW, "params", value=["name", "config"]),
        "hooks.on_tls_handshaker_config_new.params: without capabilities the module cannot work",
    ),
    "wrong return": (
        _set("hooks", "on_tls_handshaker_new", "returns", value="void"),
        "hooks.on_tls_handshaker_new.returns: void; the module needs handshaker",
    ),
    "build-id": (_set("releases", 0, "build_id", value="xyz"), "releases[0].build_id: 'xyz'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_name_file_place_and_mending(
    case: str, document: dict[str, Any], write: Write
) -> None:
    change, text = BROKEN[case]
    change(document)
    path = write(document)
    with pytest.raises(table.TableError) as caught:
        table.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_unique(document: dict[str, Any], write: Write) -> None:
    document["layouts"].append(document["layouts"][0])
    with pytest.raises(table.TableError, match=r"layouts: .* is there twice; remove one"):
        table.load(write(document))


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot be read"), (b"a: [1", "not YAML"), (b"\xff\xfe", "not YAML")],
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(table.TableError, match=f"x.yaml: {text}"):
        table.load(path)


def test_support_table_has_a_row_for_each_release() -> None:
    tables = [table.load(path) for path in table.table_paths()]
    rows = support.markdown(tables).splitlines()[2:]
    releases = [release for one in tables for release in one.releases]
    assert len(rows) == len(releases)
    for row, release in zip(rows, releases, strict=True):
        assert row.startswith(f"| {release.version} |")
        assert release.build_id[:12] in row
