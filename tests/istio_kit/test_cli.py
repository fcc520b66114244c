from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from envoy_ext import artifacts
from istio_kit import __version__, cli
from istio_kit.errors import EXIT_BAD_INPUT, InputError
from istio_kit.lab import LabError


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.cli, arguments, prog_name="istio_kit")
    return result.exit_code, result.stdout, result.stderr


def test_version_and_help() -> None:
    assert run("--version") == (0, f"istio_kit, version {__version__}\n", "")
    code, text, _ = run("--help")
    assert code == 0
    for number in ("0 ", "1 ", "2 ", "65", "79"):
        assert f"\n    {number}" in text


@pytest.mark.parametrize(
    "options",
    [
        ["nonsense"],
        ["demo", "--nonsense"],
        ["demo", "--output", "xml"],
        ["demo", "--key", "ed25519"],
        ["demo", "--tls", "1.1"],
        ["demo", "--seconds", "0"],
        ["demo", "--rounds", "0"],
        ["demo", "--connections", "many"],
    ],
)
def test_bad_options_are_usage_errors(options: list[str]) -> None:
    code, out, err = run(*options)
    assert code == 2
    assert out == ""
    assert options[-1] in err


@pytest.mark.parametrize("option", ["--gateway-cpu", "--client-cpu"])
def test_unusable_cpu_is_named(option: str) -> None:
    beyond = str(max(os.sched_getaffinity(0)) + 1)
    code, _, err = run("demo", option, beyond)
    assert code == 2
    assert option in err
    assert f"{beyond} is not a CPU that may be used here" in err


def test_missing_parts_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise artifacts.MissingArtifactError("Envoy is not installed. Run: this")

    monkeypatch.setattr(artifacts, "envoy_path", missing)
    code, out, err = run("demo")
    assert (code, out) == (1, "")
    assert err.endswith("Error: Envoy is not installed. Run: this\n")

    def no_k6() -> None:
        raise LabError("k6 is missing: do that")

    monkeypatch.setattr("istio_kit.demo.run.k6_path", no_k6)
    assert run("demo") == (1, "", "Error: k6 is missing: do that\n")


def test_own_errors_become_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise InputError("x.yaml: line 3: no such field")

    monkeypatch.setattr("istio_kit.demo.command.demo_command.callback", lambda **_: fail())
    assert run("demo") == (EXIT_BAD_INPUT, "", "Error: x.yaml: line 3: no such field\n")
