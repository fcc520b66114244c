from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from istio_kit.lab import CertAuthority, Certificate, KeyType

# Test files are imported one by one, so that their folder is not on the path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("envoy_kit")

Issue = Callable[[KeyType], Certificate]


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertAuthority:
    return CertAuthority(tmp_path_factory.mktemp("envoy-ca"))


@pytest.fixture(scope="session")
def server(ca: CertAuthority) -> Issue:
    """Server certificates for `localhost`, one of each key type."""
    made: dict[KeyType, Certificate] = {}

    def issue(key: KeyType) -> Certificate:
        if key not in made:
            made[key] = ca.issue(f"server-{key}", key=key)
        return made[key]

    return issue


@pytest.fixture(scope="session")
def client(ca: CertAuthority) -> Issue:
    """Client certificates, one of each key type."""
    made: dict[KeyType, Certificate] = {}

    def issue(key: KeyType) -> Certificate:
        if key not in made:
            made[key] = ca.issue(f"client-{key}", key=key, usage="client")
        return made[key]

    return issue
