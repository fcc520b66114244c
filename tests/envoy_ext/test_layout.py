"""The layout prober against real Envoys, and its search against a made-up memory."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner, Result

from envoy_ext import artifacts, table
from envoy_ext.__main__ import cli
from envoy_ext.layout.errors import ProbeError
from envoy_ext.layout.search import Bignum, unique, width_and_alloc
from istio_kit.lab.envoys import old_envoy

Write = Callable[[dict[str, Any]], Path]
NEWEST = table.TABLES / "1.40.yaml"


@pytest.fixture(autouse=True)
def _nothing_left() -> object:
    """No probed Envoy and no folder of the prober may be left."""
    folders = Path(tempfile.gettempdir())
    before = set(folders.glob("mbk-probe-*"))
    yield
    assert set(folders.glob("mbk-probe-*")) <= before
    children = psutil.Process().children(recursive=True)
    assert [child.name() for child in children if child.name().startswith("envoy")] == []


def layout(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["layout", *map(str, arguments)])


def test_probe_reproduces_the_table(tmp_path: Path) -> None:
    output = tmp_path / "entry.yaml"
    envoy = artifacts.envoy_path()
    result = layout("probe", "--envoy", envoy, "--name", "again", "--output", output)
    assert result.exit_code == 0, result.stderr
    (entry,) = yaml.safe_load(output.read_text())
    known = table.load(NEWEST)
    assert entry["offsets"] == dict(known.layouts[0].offsets)
    assert entry["evidence"]["build_ids"] == [known.releases[0].build_id]
    assert entry["evidence"]["abi_version"] == known.abi_version
    # What is printed is an entry that a table accepts.
    document = yaml.safe_load(NEWEST.read_text())
    document["layouts"] = [entry]
    path = tmp_path / "1.40.yaml"
    path.write_text(yaml.safe_dump(document))
    assert table.load(path).layouts[0].offsets == known.layouts[0].offsets


def test_verify_accepts_the_table() -> None:
    result = layout("verify", "--envoy", artifacts.envoy_path())
    assert result.exit_code == 0, result.stderr
    assert "MISMATCH" not in result.stdout
    assert result.stdout.count("OK") == len(table.layout_fields())


def test_verify_names_what_is_wrong(document: dict[str, Any], write: Write) -> None:
    document["layouts"][0]["offsets"] |= {"ctx_cert": 0x138, "rsa_p": 0x30}
    path = write(document)
    result = layout("verify", "--envoy", artifacts.envoy_path(), "--table", path)
    assert result.exit_code == 1
    wrong = [line.split() for line in result.stdout.splitlines() if line.startswith("MISMATCH")]
    assert [line[1:3] for line in wrong] == [["ctx_cert", "0x150"], ["rsa_p", "0x28"]]
    assert "2 offsets of" in result.stderr


def test_envoy_without_the_hook() -> None:
    result = layout("probe", "--envoy", old_envoy())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no TLS handshaker extension point for dynamic modules" in result.stderr
    assert "needs Envoy 1.40 or newer" in result.stderr
    assert "Traceback" not in result.stderr


def test_files_that_are_no_envoy(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no ELF\n")
    result = layout("probe", "--envoy", text)
    assert result.exit_code == 1
    assert f"{text}: not an ELF binary" in result.stderr
    result = layout("probe", "--envoy", "/bin/true")
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "/bin/true: it ended with status 0 and wrote no log: is it an Envoy?\n"
    )


def test_unique() -> None:
    assert unique("rsa_n", [8, 8]) == 8
    with pytest.raises(ProbeError, match=r"rsa_n: ambiguous: 0x8, 0x10;"):
        unique("rsa_n", [16, 8])
    with pytest.raises(ProbeError, match=r"rsa_n: not found;"):
        unique("rsa_n", [])


def bignum(number: bytes, width: int, allocated: int) -> Bignum:
    """One whose limb pointer is followed by width and allocated limbs."""
    limbs = number.ljust(len(number) + 16, b"\0")
    return Bignum(number, limbs, struct.pack("<Qiixxxxxxxx", 0x1000, width, allocated))


def test_width_and_allocation_are_told_apart() -> None:
    number = b"\1" * 32
    full, trimmed = bignum(number, 4, 4), bignum(number, 4, 6)
    assert width_and_alloc([full, trimmed]) == (8, 12)
    with pytest.raises(ProbeError, match="bn_width: not found"):
        width_and_alloc([full, full])
    with pytest.raises(ProbeError, match="bn_width: not found"):
        width_and_alloc([trimmed, bignum(number, 3, 6)])
