from __future__ import annotations

from pathlib import Path

import pytest

from istio_kit.lab import CertAuthority, Certificate


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertAuthority:
    return CertAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def server(ca: CertAuthority) -> Certificate:
    return ca.issue("server", key="p256", dns=("localhost", "a.test"))


@pytest.fixture(scope="session")
def client(ca: CertAuthority) -> Certificate:
    return ca.issue("client", key="p256", usage="client")


@pytest.fixture(autouse=True)
def _no_shared_memory_left() -> object:
    """No process of a test may leave shared memory behind."""
    shared = Path("/dev/shm")
    before = set(shared.iterdir())
    yield
    left = {path.name for path in set(shared.iterdir()) - before if "envoy" in path.name}
    assert not left
