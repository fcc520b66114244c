"""Many clients at once: two workers, batches, and the policy that does without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy_kit import ANSWER, CANNOT_BATCH, Setup, client_context, https_get, running

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    Listener,
    Load,
    ServerTls,
    run_k6,
)
from istio_kit.lab.config import TlsVersion

KEYS: tuple[KeyType, ...] = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Busy:
    envoy: EnvoyProcess
    setup: Setup
    ca: Path
    folder: Path


@pytest.fixture(scope="module")
def busy(
    ca: CertAuthority,
    server: Callable[[KeyType], Certificate],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Busy]:
    """Two workers; for each key a listener, and one more with the policy `off`."""
    folder = tmp_path_factory.mktemp("load")
    setup = Setup(folder / "stats")
    listeners = []
    for key in KEYS:
        for name, module in ((key, setup.module()), (f"off-{key}", setup.module(policy="off"))):
            tls = ServerTls(certificates=(server(key),), module=module)
            listeners.append(Listener(name, (Chain(tls=tls),)))
    with running(Bootstrap(listeners=listeners), folder, concurrency=2) as envoy:
        # When the first connections of the process come to both workers at the same moment, one
        # of them can be signed by Envoy instead of the module. Exact counts start after that.
        assert https_get(envoy.address(KEYS[0]), client_context(ca.cert)).body
        yield Busy(envoy, setup, ca.cert, folder)
        # Both workers had their part. Not on every listener: the kernel spreads few connections
        # unevenly.
        shares = envoy.stats(r"^listener\..*\.worker_[01]\.downstream_cx_total$")
        assert len(shares) == 2 * len(listeners), shares
        for worker in ("worker_0", "worker_1"):
            assert sum(count for name, count in shares.items() if worker in name) > CONNECTIONS


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("listener", [*KEYS, "off-rsa2048", "off-p256"])
def test_go_client(busy: Busy, listener: str, version: TlsVersion) -> None:
    key = listener.removeprefix("off-")
    load = Load(
        url=busy.envoy.url(listener),
        seconds=0.5,
        connections=CONNECTIONS,
        tls=version,
        ca=busy.ca,
    )
    before = busy.setup.read()
    result = run_k6(load, busy.folder)
    counted = busy.setup.read() - before
    assert result.failed == 0
    assert result.handshakes >= CONNECTIONS
    # k6 ends its connections in good order: none went away before it was signed for.
    assert counted.signed(key) == counted.signed() == counted.submitted == result.handshakes
    assert counted.total("failed", "dropped") == 0
    assert counted.verify_failures == counted.lane_errors == counted.lane_retries == 0
    lanes = sum(lane * count for lane, count in enumerate(counted.fill[key], start=1))
    assert lanes == counted.ops[key]["batched"]
    if listener != key or CANNOT_BATCH:
        assert counted.total("batched") == 0
    elif busy.setup.read().break_even[key] <= 4:
        assert counted.ops[key]["batched"] > 0


def test_all_keys_at_once(busy: Busy) -> None:
    """Batches hold one algorithm only, whatever arrives together."""
    rounds = 6
    listeners = [name for key in KEYS for name in (key, f"off-{key}")]
    wanted = [busy.envoy.address(name) for name in listeners] * rounds

    def handshake(address: tuple[str, int]) -> bytes:
        return https_get(address, client_context(busy.ca)).body

    with (
        busy.setup.signs(**dict.fromkeys(KEYS, 2 * rounds)),
        ThreadPoolExecutor(len(wanted)) as pool,
    ):
        assert all(body.startswith(ANSWER.encode()) for body in pool.map(handshake, wanted))
