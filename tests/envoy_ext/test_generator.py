"""From a table to C: deterministic, checked, and enough for an Envoy with other hooks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from envoy_ext import generate, table
from envoy_ext.__main__ import cli
from envoy_ext.build import build_module

Write = Callable[[dict[str, Any]], Path]
NEWEST = table.TABLES / "1.40.yaml"


def test_checked_in_files_are_fresh() -> None:
    for path in table.table_paths():
        one = table.load(path)
        assert generate.stale(one, generate.GENERATED / one.envoy) == []


def test_text_is_deterministic_and_says_where_it_is_from() -> None:
    one = table.load(NEWEST)
    texts = generate.render(one)
    assert texts == generate.render(table.load(NEWEST))
    assert set(texts) == set(generate.OUTPUTS)
    for text in texts.values():
        assert "generated from 1.40.yaml by python -m envoy_ext gen; do not edit" in text
        assert text.endswith("\n")


def test_check_finds_a_stale_file(tmp_path: Path) -> None:
    arguments = ["gen", "--table", str(NEWEST), "--output-dir", str(tmp_path)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert CliRunner().invoke(cli, [*arguments, "--check"]).exit_code == 0
    stale = tmp_path / "1.40" / "mbk_hooks.c"
    stale.write_text(stale.read_text() + "/* by hand */\n")
    result = CliRunner().invoke(cli, [*arguments, "--check"])
    assert result.exit_code == 1
    assert result.stdout == f"stale: {stale}\n"
    assert result.stderr == "Run: make gen\n"
    assert "by hand" in stale.read_text()


@pytest.fixture
def other_version(document: dict[str, Any], write: Write) -> table.Table:
    """A made-up Envoy: config_new lacks its first argument, the capabilities come first."""
    document["envoy"] = "9.9"
    document["abi"]["version"] = "v9.9.9"
    document["hooks"]["on_tls_handshaker_config_new"]["params"] = [
        "capabilities",
        "name",
        "config",
    ]
    document["types"]["buffer"] = ["length", "ptr"]
    document["types"]["capabilities"].reverse()
    return table.load(write(document))


#: Calls the hooks as that Envoy would; prints what the module answers.
CALLER = """
import ctypes, sys
class Buffer(ctypes.Structure):
    _fields_ = [("length", ctypes.c_size_t), ("ptr", ctypes.c_char_p)]
module = ctypes.CDLL(sys.argv[1])
start = module.envoy_dynamic_module_on_program_init
start.restype = ctypes.c_char_p
print(start().decode())
new = module.envoy_dynamic_module_on_tls_handshaker_config_new
new.restype = ctypes.c_void_p
new.argtypes = [ctypes.c_void_p, Buffer, Buffer]
capabilities = (ctypes.c_ubyte * 7)(*[1] * 7)
text = sys.argv[2].encode()
answer = new(capabilities, Buffer(1, b"x"), Buffer(len(text), text))
print(list(capabilities), answer is not None)
"""


def call(module: Path, settings: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CALLER), str(module), settings],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_another_envoy_is_another_table(other_version: table.Table, tmp_path: Path) -> None:
    generate.write(other_version, tmp_path / "9.9")
    module = build_module(tmp_path / "libmultibuffer.so", generated=tmp_path / "9.9")
    nm = shutil.which("nm")
    assert nm
    listed = subprocess.run(
        [nm, "-D", "--defined-only", str(module)], capture_output=True, text=True, check=True
    ).stdout
    exported = set(re.findall(r" T (\S+)$", listed, re.MULTILINE))
    hooks = (*other_version.hooks, *other_version.bootstrap_hooks)
    assert exported == {hook.symbol for hook in hooks} | set(other_version.ignored_hooks)
    # A wrong shape would read the length as a pointer; the message shows that the text arrived.
    lines, log = call(module, '{"strict": true, "policy": "fast"}')
    assert lines == ["v9.9.9", "[0, 0, 0, 0, 0, 0, 0] False"]
    assert "configuration field 'policy' must be" in log
    assert call(module, '{"policy": "fast"}')[0][1].endswith("True")
