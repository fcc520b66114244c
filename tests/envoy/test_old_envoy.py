"""An Envoy without the extension point refuses the configuration and keeps serving without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from envoy_kit import Setup, s_client

from envoy_ext import artifacts
from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    ServerTls,
    StartupError,
)
from istio_kit.lab.envoys import old_envoy

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
