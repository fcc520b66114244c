from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Test files are imported one by one, so that their folder is not on the path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("engine_kit")

import engine_kit as kit  # noqa: E402

from envoy_ext.engine import Engine, Key, PrivateKey, Worker  # noqa: E402

Load = Callable[..., Key]


@pytest.fixture(scope="session")
def engine() -> Engine:
    return kit.the_engine()


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    kit.reset_engine()
    yield
    kit.reset_engine()


@pytest.fixture
def needs_crypto_mb() -> None:
    reason = kit.no_crypto_mb_reason()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def worker(engine: Engine) -> Iterator[Worker]:
    made = Worker(engine)
    yield made
    assert made.pending == 0
    made.close()


@pytest.fixture(scope="session")
def load(engine: Engine) -> Iterator[Load]:
    """Loads keys that live as long as the tests; trying a large one takes its time."""
    loaded: dict[tuple[PrivateKey, bool], Key] = {}

    def one(key: PrivateKey, *, off: bool = False) -> Key:
        if (key, off) not in loaded:
            loaded[key, off] = Key.load(engine, key, off=off)
        return loaded[key, off]

    yield one
    for key in loaded.values():
        key.close()
