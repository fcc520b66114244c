"""The doctor looks at this host, at real binaries and at real running proxies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from envoy_ext import artifacts
from envoy_ext.build import STAND_INS
from envoy_ext.cpu import ifma_reason
from istio_kit.cli import cli
from istio_kit.doctor import contexts
from istio_kit.doctor import host as host_checks
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Chain,
    ClientTls,
    Cluster,
    EnvoyProcess,
    Listener,
    Module,
    ServerTls,
)
from istio_kit.lab.envoys import old_envoy

Checks = dict[str, dict[str, str]]


def doctor(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, Checks, str]:
    """Run the command; return the exit code, checks by name, and stderr."""
    command = ["doctor", "-o", "json", *arguments]
    result = CliRunner().invoke(cli, command, env=env, prog_name="istio_kit")
    if not result.stdout:
        return result.exit_code, {}, result.stderr
    return result.exit_code, by_name(result.stdout), result.stderr


def by_name(report: str) -> Checks:
    groups: dict[str, list[dict[str, str]]] = json.loads(report)["groups"]
    return {check["name"]: check for checks in groups.values() for check in checks}


def status(checks: Checks) -> dict[str, str]:
    return {name: check["status"] for name, check in checks.items()}


def test_this_host() -> None:
    code, checks, _ = doctor("--module-dir", str(artifacts.module_dir()))
    found = status(checks)
    assert code == 0
    assert found["processor"] == found["OpenSSL"] == found["module"] == found["C library"] == "OK"
    assert found["crypto_mb"] == ("WARN" if ifma_reason() else "OK")
    assert all(check["remedy"] for check in checks.values() if check["status"] != "OK")


def test_text_has_a_line_for_each_check_and_its_remedy() -> None:
    arguments = ["doctor", "--no-host", "--envoy", str(old_envoy())]
    result = CliRunner().invoke(cli, arguments, prog_name="istio_kit")
    assert result.exit_code == 79
    assert "FAIL  extension: envoy.tls.handshakers.dynamic_modules is not in" in result.stdout
    assert "remedy: use Envoy 1.40 or newer" in result.stdout
    assert "FAIL" in result.stderr


def test_supported_binary() -> None:
    code, checks, _ = doctor("--no-host", "--strict", "--envoy", str(artifacts.envoy_path()))
    assert code == 0
    assert set(status(checks).values()) == {"OK"}
    assert "boringssl-" in checks["memory layout"]["detail"]


def test_old_binary() -> None:
    code, checks, _ = doctor("--no-host", "--envoy", str(old_envoy()))
    found = status(checks)
    assert code == 79
    assert (found["extension"], found["module ABI"]) == ("FAIL", "FAIL")
    assert found["memory layout"] == "WARN"


def test_warnings_count_only_when_strict() -> None:
    unset = {host_checks.SEARCH_PATH: ""}
    assert doctor("--module-dir", str(artifacts.module_dir()), env=unset)[0] == 0
    code, checks, _ = doctor("--strict", "--module-dir", str(artifacts.module_dir()), env=unset)
    assert code == 79
    assert checks["search path"]["status"] == "WARN"
    assert str(artifacts.module_dir()) in checks["search path"]["remedy"]


@pytest.mark.parametrize("content", [b"", b"no ELF\n", b"\x7fELF", b"\x7fELF" + b"\xff" * 60])
def test_what_is_no_binary_is_bad_input(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "envoy").write_bytes(content)
    code, _, err = doctor("--no-host", "--envoy", str(tmp_path / "envoy"))
    assert code == 65
    assert str(tmp_path / "envoy") in err
    assert "Traceback" not in err


def test_missing_binary_is_bad_input(tmp_path: Path) -> None:
    code, _, err = doctor("--no-host", "--envoy", str(tmp_path / "none"))
    assert code == 65
    assert "No such file" in err


def test_module_folder_without_module(tmp_path: Path) -> None:
    code, checks, _ = doctor("--module-dir", str(tmp_path))
    assert code == 79
    assert checks["module"]["status"] == "FAIL"
    assert "--module-dir" in checks["module"]["remedy"]


def test_damaged_module(tmp_path: Path) -> None:
    (tmp_path / host_checks.MODULE).write_bytes(b"\x7fELF")
    code, checks, _ = doctor("--module-dir", str(tmp_path))
    assert code == 79
    assert checks["module"]["status"] == "FAIL"


def test_wrong_search_path(tmp_path: Path) -> None:
    environment = {host_checks.SEARCH_PATH: str(tmp_path)}
    code, checks, _ = doctor("--module-dir", str(artifacts.module_dir()), env=environment)
    assert code == 79
    assert checks["search path"]["status"] == "FAIL"
    right = {host_checks.SEARCH_PATH: str(artifacts.module_dir())}
    assert status(doctor(env=right)[1])["search path"] == "OK"


def child(
    tmp_path: Path, *, limit: int | None = None, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process without IPC_LOCK; `limit`: bytes that it may lock."""
    command = [sys.executable, "-m", "istio_kit", "doctor", "-o", "json"]
    command += ["--module-dir", str(folder)]
    if limit is not None:
        command = ["prlimit", f"--memlock={limit}:{limit}", *command]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_no_locked_memory_allowed(tmp_path: Path) -> None:
    done = child(tmp_path, limit=0, folder=artifacts.module_dir())
    assert done.returncode == 79, done.stderr
    check = by_name(done.stdout)["locked memory"]
    assert check["status"] == "FAIL"
    assert "LimitMEMLOCK" in check["remedy"]
    assert "Traceback" not in done.stderr


def test_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    for name in (host_checks.MODULE, *STAND_INS):
        shutil.copy2(artifacts.module_dir() / name, tmp_path / name)
    (tmp_path / host_checks.LIBRARY).write_bytes(b"\x7fELF cut short")
    done = child(tmp_path, folder=tmp_path)
    assert done.returncode == 79, done.stderr
    broken = [one for one in by_name(done.stdout).values() if "libcrypto_mb" in one["detail"]]
    assert [one["status"] for one in broken] == ["FAIL"]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertAuthority:
    return CertAuthority(tmp_path_factory.mktemp("ca"))


def proxies(ca: CertAuthority) -> Bootstrap:
    server = (ca.issue("server", key="p256"),)
    client = (ca.issue("client", key="p256", usage="client"),)
    return Bootstrap(
        listeners=(
            Listener("with", (Chain(tls=ServerTls(certificates=server, module=Module())),)),
            Listener("without", (Chain(tls=ServerTls(certificates=server)),)),
            Listener("plain", (Chain(),)),
        ),
        clusters=(
            Cluster(
                "upstream",
                (("127.0.0.1", 1),),
                tls=ClientTls(certificates=client, module=Module()),
            ),
        ),
    )


def test_running_proxy(ca: CertAuthority, tmp_path: Path) -> None:
    with EnvoyProcess(proxies(ca), tmp_path, module_dir=artifacts.module_dir()):
        address = (tmp_path / "envoy.admin").read_text()
        code, checks, _ = doctor("--no-host", "--admin", address)
        assert doctor("--no-host", "--admin", f"http://{address}/")[1] == checks
    assert code == 0
    assert status(checks) == {
        "proxy": "OK",
        "TLS library": "OK",
        "extension": "OK",
        "memory layout": "OK",
        "listener with, downstream": "OK",
        "listener without, downstream": "WARN",
        "cluster upstream, upstream": "OK",
    }


def test_running_old_proxy(tmp_path: Path) -> None:
    config = Bootstrap(listeners=(Listener("plain", (Chain(),)),))
    with EnvoyProcess(config, tmp_path, binary=old_envoy()):
        code, checks, _ = doctor("--no-host", "--admin", (tmp_path / "envoy.admin").read_text())
    assert code == 79
    assert status(checks)["extension"] == "FAIL"
    assert status(checks)["TLS contexts"] == "WARN"


def test_not_an_admin_interface(tmp_path: Path) -> None:
    config = Bootstrap(listeners=(Listener("plain", (Chain(),)),))
    with EnvoyProcess(config, tmp_path) as envoy:
        code, _, err = doctor("--no-host", "--admin", envoy.url("plain", "http"))
    assert code == 1
    assert "is this the admin port?" in err


class Junk(BaseHTTPRequestHandler):
    """Answers every path with JSON that Envoy would never send."""

    answer: ClassVar[bytes]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"version": 3, "configs": 3}',
        b'{"version": "x", "configs": [[]]}',
        b'{"version": "x", "configs": [{"static_listeners": [1]}]}',
        b'{"version": "x", "node": [], "configs": []}',
    ],
)
def test_other_servers_are_named(answer: bytes) -> None:
    handler = type("Answering", (Junk,), {"answer": answer})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        code, _, err = doctor("--no-host", "--admin", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert code == 1, err
    assert err.startswith("Error: --admin: 127.0.0.1:")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("url", "expected"),
    [("127.0.0.1:1", 1), ("http://[::1", 65), ("ftp://x", 65), ("http://a b", 1)],
)
def test_bad_addresses(url: str, expected: int) -> None:
    code, _, err = doctor("--no-host", "--admin", url)
    assert code == expected, err
    assert url in err
    assert err.count("\n") == 1


def tls(common: dict[str, Any], kind: str = "DownstreamTlsContext") -> dict[str, Any]:
    context = {"@type": f"type.googleapis.com/x.{kind}", "common_tls_context": common}
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def test_typed_struct_quic_and_key_provider_are_seen() -> None:
    """As Istio sends them; a proxy of this kind cannot be had here."""
    inside = {"type_url": "x", "value": {"dynamic_module_config": {"name": "other"}}}
    handshaker = {"name": "hs", "typed_config": {"@type": "x.TypedStruct", **inside}}
    provider = {"private_key_provider": {"provider_name": "cryptomb"}}
    listeners = [
        {"name": "a", "filter_chains": [tls({"custom_handshaker": handshaker})]},
        {"name": "b", "filter_chains": [{"typed_config": {"downstream_tls_context": {}}}]},
        {"name": "c", "filter_chains": [tls({"tls_certificates": [provider]})]},
    ]
    active = [{"active_state": {"listener": one}} for one in listeners]
    refused = {"name": "d", "error_state": {"details": "no such filter"}}
    dump = {"configs": [{"@type": "x", "dynamic_listeners": [*active, refused]}]}
    found = [(c.place, c.side, c.module, c.key_provider) for c in contexts.of_dump(dump)]
    assert found == [
        ("listener a", "downstream", "other", None),
        ("listener b", "downstream (QUIC)", None, None),
        ("listener c", "downstream", None, "cryptomb"),
    ]
    assert list(contexts.error_states(dump)) == [("listener d", "no such filter")]
