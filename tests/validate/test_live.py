"""`validate --run` against the real Envoy: rejected, not signed, and signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from envoy_ext.cpu import ifma_reason
from istio_kit.cli import cli
from istio_kit.lab import Bootstrap, CertAuthority, Chain, Listener, Module, ServerTls
from istio_kit.lab.envoys import old_envoy


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertAuthority:
    return CertAuthority(tmp_path_factory.mktemp("ca"))


def https(ca: CertAuthority, module: Module | None = None, **tls: Any) -> dict[str, Any]:  # noqa: ANN401
    server = ServerTls(certificates=(ca.issue("server", key="rsa2048"),), module=module, **tls)
    chains = (Chain(tls=server, server_names=("a.test",)), Chain(tls=server))
    listeners = (Listener("tls", chains), Listener("plain", (Chain(),)))
    return Bootstrap(listeners=listeners).as_dict()


def validate(
    config: dict[str, Any], folder: Path, *arguments: str
) -> tuple[int, list[dict[str, str]]]:
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    command = ["validate", "-f", str(path), "--run", "-o", "json", *arguments]
    result = CliRunner().invoke(cli, command, prog_name="istio_kit")
    assert "Traceback" not in result.stderr
    return result.exit_code, json.loads(result.stdout or '{"findings": []}')["findings"]


def codes(findings: list[dict[str, str]]) -> list[str]:
    return [one["code"] for one in findings]


def test_module_signs(ca: CertAuthority, tmp_path: Path) -> None:
    code, findings = validate(https(ca, Module()), tmp_path)
    assert code == 0
    assert codes(findings) == (["MBK0222"] if ifma_reason() else [])


def test_without_module(ca: CertAuthority, tmp_path: Path) -> None:
    assert validate(https(ca), tmp_path) == (0, [])


def test_server_that_asks_for_a_certificate(ca: CertAuthority, tmp_path: Path) -> None:
    config = https(ca, Module(), require_client_certificate=True, trusted_ca=ca.cert)
    code, findings = validate(config, tmp_path)
    assert code == 0
    assert codes(findings) == (["MBK0222"] if ifma_reason() else [])


def test_module_that_cannot_be_loaded(ca: CertAuthority, tmp_path: Path) -> None:
    """Envoy calls this configuration OK."""
    (tmp_path / "empty").mkdir()
    code, findings = validate(
        https(ca, Module()), tmp_path, "--module-dir", str(tmp_path / "empty")
    )
    assert code == 79
    assert codes(findings) == ["MBK0221", "MBK0221"]  # one for each chain
    assert "filter_chains[0]" in findings[0]["where"]
    assert "libmultibuffer.so" in findings[0]["message"]


def test_rejected_by_envoy_alone(ca: CertAuthority, tmp_path: Path) -> None:
    """The form is right; only Envoy sees that the certificate is missing."""
    config = https(ca)
    text = json.dumps(config).replace("server.crt", "none.crt")
    code, findings = validate(json.loads(text), tmp_path)
    assert (code, codes(findings)) == (79, ["MBK0220"])
    assert "none.crt" in findings[0]["message"]


def test_old_envoy_rejects_the_handshaker(ca: CertAuthority, tmp_path: Path) -> None:
    code, findings = validate(https(ca, Module()), tmp_path, "--envoy", str(old_envoy()))
    assert (code, codes(findings)) == (79, ["MBK0220"])
    assert "envoy.tls.handshakers.dynamic_modules" in findings[0]["message"]


def test_module_that_stands_aside(ca: CertAuthority, tmp_path: Path) -> None:
    """With a library that does not exist; the form of the settings is right."""
    config = https(ca, Module({"library": str(tmp_path / "none.so")}))
    code, findings = validate(config, tmp_path)
    assert (code, codes(findings)) == (0, ["MBK0222"])
    assert "multibuffer: " in findings[0]["message"]
    assert validate(config, tmp_path, "--strict")[0] == 79


def test_what_is_wrong_in_form_is_not_run(ca: CertAuthority, tmp_path: Path) -> None:
    code, findings = validate(https(ca, Module({"polcy": "off"})), tmp_path)
    assert (code, codes(findings)) == (79, ["MBK0205", "MBK0205"])


def test_no_program(ca: CertAuthority, tmp_path: Path) -> None:
    assert validate(https(ca), tmp_path, "--envoy", str(tmp_path / "none")) == (65, [])
