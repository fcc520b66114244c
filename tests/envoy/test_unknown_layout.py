"""An Envoy whose memory layout the module does not know: it hooks nothing, TLS works as stock."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy_kit import CANNOT_BATCH, Setup, s_client

from envoy_ext import artifacts, generate, table
from envoy_ext.build import STAND_INS, build_module
from envoy_ext.elf import build_id
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    Module,
    ServerTls,
)
from istio_kit.lab.log import unexpected_lines, warnings_of

Issue = Callable[[KeyType], Certificate]
Offsets = dict[str, int]

KEYS: tuple[KeyType, ...] = ("rsa2048", "p256", "p384")


def _moved(offsets: Offsets, by: int, *fields: str) -> Offsets:
    return {name: at + by if name in fields else at for name, at in offsets.items()}


#: How a layout can be wrong, and from which step on it leads astray.
WRONG: dict[str, Callable[[Offsets], Offsets]] = {
    "all zero": lambda offsets: dict.fromkeys(offsets, 0),
    "all shifted": lambda offsets: {name: at + 8 for name, at in offsets.items()},
    "far away": lambda offsets: offsets | {"ctx_cert": 0xFFF8},
    "certificate": lambda offsets: offsets | {"ctx_cert": 0x138},
    "credential": lambda offsets: _moved(offsets, 8, "cert_cred"),
    "public for private": lambda offsets: offsets | {"cred_privkey": offsets["cred_pubkey"]},
    "key": lambda offsets: _moved(offsets, 8, "pkey_key"),
    "numbers": lambda offsets: (
        offsets
        | {"rsa_p": offsets["rsa_q"], "rsa_q": offsets["rsa_p"], "ec_scalar": offsets["ec_point"]}
    ),
    "limbs": lambda offsets: offsets | {"bn_limbs": 8, "bn_width": 0, "bn_alloc": 4},
    # The slot that the table names is empty too, but writing there would damage something else.
    "method slot": lambda offsets: _moved(offsets, 8, "cred_method", "cred_chain"),
    "connection": lambda offsets: _moved(offsets, 8, "ssl_config"),
    "connection's certificate": lambda offsets: _moved(offsets, 8, "config_cert"),
}


def build(folder: Path, layouts: list[dict[str, Any]]) -> Path:
    """A module for Envoy 1.40 that knows only `layouts`; its folder."""
    document = yaml.safe_load((table.TABLES / "1.40.yaml").read_text())
    document["layouts"] = layouts
    document["releases"] = [{**document["releases"][0], "build_id": "0" * 40}]
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(document))
    generate.write(table.load(path), folder / "generated")
    modules = folder / "modules"
    build_module(modules / "libmultibuffer.so", generated=folder / "generated")
    for name in STAND_INS:
        shutil.copy2(artifacts.module_dir() / name, modules)
    return modules


@pytest.fixture(scope="module")
def entry() -> dict[str, Any]:
    document = yaml.safe_load((table.TABLES / "1.40.yaml").read_text())
    found: dict[str, Any] = document["layouts"][0]
    return found


def listener(name: str, certificate: Certificate, module: Module) -> Listener:
    return Listener(name, (Chain(tls=ServerTls(certificates=(certificate,), module=module)),))


def warning(case: str) -> str:
    if case.startswith("connection"):
        return (
            r"no known memory layout leads from a connection to its key in this Envoy \(build-id "
        )
    return r"no known memory layout fits this Envoy \(build-id "


@pytest.mark.parametrize("case", WRONG)
def test_wrong_layout(
    case: str, entry: dict[str, Any], ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    wrong = copy.deepcopy(entry)
    wrong["offsets"] = WRONG[case](wrong["offsets"])
    check(ca, server, tmp_path, build(tmp_path, [wrong]), warning(case))


def test_the_right_layout_is_found_among_wrong_ones(
    entry: dict[str, Any], ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    layouts = []
    for number, case in enumerate(["certificate", "numbers", "method slot"]):
        wrong = copy.deepcopy(entry)
        layouts.append(wrong | {"name": f"w{number}", "offsets": WRONG[case](wrong["offsets"])})
    setup = Setup(tmp_path / "stats")
    modules = build(tmp_path, [*layouts, entry])
    config = Bootstrap(listeners=[listener(key, server(key), setup.module()) for key in KEYS])
    with EnvoyProcess(config, tmp_path, module_dir=modules) as envoy:
        for key in KEYS:
            with setup.signs(**{key: 1}):
                assert s_client(envoy.address(key), ca.cert).ok
        assert envoy.stop() == 0
    assert unexpected_lines(envoy.log_text(), ()) == []


def check(ca: CertAuthority, server: Issue, folder: Path, modules: Path, expected: str) -> None:
    """TLS is served for every key, nothing is signed by us, and the log says why."""
    setup = Setup(folder / "stats")
    listeners = [
        listener(f"{key}-{strict}", server(key), setup.module(strict=strict))
        for strict in (False, True)
        for key in KEYS
    ]
    with EnvoyProcess(Bootstrap(listeners=listeners), folder, module_dir=modules) as envoy:
        for key in KEYS:
            for _ in range(2):
                assert s_client(envoy.address(f"{key}-False"), ca.cert).ok
            assert not s_client(envoy.address(f"{key}-True"), ca.cert).ok
        assert setup.read().submitted == 0
        assert envoy.returncode is None
        assert envoy.stop() == 0
    ours = [line for line in warnings_of(envoy.log_text()) if " multibuffer: " in line]
    assert ours
    binary = re.escape(build_id(artifacts.envoy_path()))
    assert all(re.search(expected + binary, line) for line in ours), ours


@pytest.mark.skipif(CANNOT_BATCH is not None, reason=str(CANNOT_BATCH))
def test_the_module_itself_knows_this_envoy(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    """The control: what the other tests build, with the right table, signs."""
    setup = Setup(tmp_path / "stats")
    config = Bootstrap(listeners=[listener("tls", server("rsa2048"), setup.module())])
    with EnvoyProcess(config, tmp_path, module_dir=artifacts.module_dir()) as envoy:
        assert s_client(envoy.address("tls"), ca.cert).ok
        assert setup.read().signed("rsa2048") == 1
