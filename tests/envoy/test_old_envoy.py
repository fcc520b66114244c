"""An Envoy without the extension point refuses the configuration and keeps serving without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from envoy_kit import Setup, put_listeners, s_client, stat, wait_for, watch_listeners

from envoy_ext import artifacts
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
    StartupError,
)
from istio_kit.lab.envoys import old_envoy
from istio_kit.lab.log import unexpected_lines

Issue = Callable[[KeyType], Certificate]


def test_static_configuration_is_refused(server: Issue, tmp_path: Path) -> None:
    """By Envoy itself, before the module is looked for: it never runs half-configured."""
    setup = Setup(tmp_path / "stats")
    tls = ServerTls(certificates=(server("p256"),), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))
    envoy = EnvoyProcess(config, tmp_path, binary=old_envoy(), module_dir=artifacts.module_dir())
    with pytest.raises(StartupError, match="ended with status 1"):
        envoy.start()
    log = envoy.log_text()
    assert "DynamicModuleTlsHandshaker" in log or "envoy.tls.handshakers.dynamic_modules" in log
    assert "multibuffer: " not in log
    assert "Caught " not in log
    assert not setup.stats_file.exists()


def test_module_in_its_search_path_does_no_harm(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    config = Bootstrap(
        listeners=(Listener("tls", (Chain(tls=ServerTls(certificates=(server("p256"),))),)),)
    )
    with EnvoyProcess(
        config, tmp_path, binary=old_envoy(), module_dir=artifacts.module_dir()
    ) as envoy:
        assert s_client(envoy.address("tls"), ca.cert).ok
        assert envoy.stop() == 0
    assert "multibuffer: " not in envoy.log_text()


def served(name: str, certificate: Certificate, module: Module | None) -> Listener:
    return Listener(name, (Chain(tls=ServerTls(certificates=(certificate,), module=module)),))


def test_dynamic_configuration_is_refused_and_the_old_one_serves_on(
    ca: CertAuthority, server: Issue, tmp_path: Path
) -> None:
    setup, watched = Setup(tmp_path / "stats"), tmp_path / "lds.json"
    stock = served("tls", server("p256"), None)
    config = watch_listeners(watched, [stock])
    envoy = EnvoyProcess(config, tmp_path, binary=old_envoy(), module_dir=artifacts.module_dir())
    with envoy:
        assert s_client(envoy.address("tls"), ca.cert).ok
        put_listeners(watched, [served("tls", server("p256"), setup.module())])
        failed = "listener_manager.lds.update_failure"
        wait_for(lambda: stat(envoy, failed) >= 1)
        assert s_client(envoy.address("tls"), ca.cert).ok
        assert envoy.stop() == 0
    # Envoy says why, so that nobody has to guess which part is too old.
    (reason,) = unexpected_lines(envoy.log_text(), ())
    assert "envoy.tls.handshakers.dynamic_modules" in reason or "TlsHandshaker" in reason
    assert not setup.stats_file.exists()


@pytest.mark.parametrize("old", [True, False], ids=["old Envoy", "Envoy"])
def test_module_in_another_role(
    ca: CertAuthority, server: Issue, tmp_path: Path, *, old: bool
) -> None:
    """As an HTTP filter it is refused for what it lacks; nothing else of Envoy suffers."""
    watched = tmp_path / "lds.json"
    stock = served("tls", server("p256"), None)
    wrong = copy.deepcopy(stock.as_dict()) | {"name": "wrong"}
    (chain,) = wrong["filter_chains"]
    kind = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3"
    chain["filters"][0]["typed_config"]["http_filters"].insert(
        0,
        {
            "name": "envoy.filters.http.dynamic_modules",
            "typed_config": {
                "@type": f"{kind}.DynamicModuleFilter",
                "dynamic_module_config": {"name": "multibuffer"},
                "filter_name": "multibuffer",
            },
        },
    )
    binary = old_envoy() if old else artifacts.envoy_path()
    config = watch_listeners(watched, [stock])
    envoy = EnvoyProcess(config, tmp_path, binary=binary, module_dir=artifacts.module_dir())
    with envoy:
        put_listeners(watched, [stock, wrong])
        rejected = "listener_manager.lds.update_rejected"
        wait_for(lambda: stat(envoy, rejected) == 1)
        assert s_client(envoy.address("tls"), ca.cert).ok
        assert envoy.stop() == 0
    lines = unexpected_lines(envoy.log_text(), ())
    assert any("envoy_dynamic_module_on_http_filter" in line for line in lines), lines
    assert "Caught " not in envoy.log_text()
