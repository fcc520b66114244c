"""The bootstrap extension: Envoy's statistics and the admin page, against what clients counted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy_kit import CANNOT_BATCH, Setup, client_context, https_get, running

from istio_kit.lab import (
    Bootstrap,
    CertAuthority,
    Certificate,
    Chain,
    EnvoyProcess,
    KeyType,
    LabError,
    Listener,
    Load,
    Metrics,
    Module,
    ServerTls,
    run_k6,
)

KEYS: tuple[KeyType, ...] = ("rsa2048", "p256")
CONNECTIONS = 24
MERGE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Proxy:
    envoy: EnvoyProcess
    setup: Setup
    ca: Path
    folder: Path

    def load(self, listener: str) -> int:
        """Make handshakes; return the client's count of them."""
        load = Load(url=self.envoy.url(listener), seconds=0.5, connections=CONNECTIONS, ca=self.ca)
        result = run_k6(load, self.folder)
        assert result.failed == 0
        assert result.handshakes >= CONNECTIONS
        return result.handshakes


Server = Callable[[KeyType], Certificate]


@pytest.fixture(scope="module")
def proxy(
    ca: CertAuthority, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("metrics")
    setup = Setup(folder / "stats")
    listeners = [
        Listener(key, (Chain(tls=ServerTls(certificates=(server(key),), module=setup.module())),))
        for key in KEYS
    ]
    config = Bootstrap(listeners=listeners, metrics=Metrics())
    with running(config, folder, concurrency=2) as envoy:
        # The first connection proves the path to the credential; counts are exact after it.
        assert https_get(envoy.address(KEYS[0]), client_context(ca.cert)).body
        yield Proxy(envoy, setup, ca.cert, folder)


def samples(envoy: EnvoyProcess) -> dict[str, float]:
    """Return the module's metrics as Prometheus gets them; of histograms count, sum, buckets."""
    found = re.findall(
        r"^envoy_((?:multibuffer|cryptomb)_.+) (\S+)$",
        envoy.get("/stats/prometheus"),
        re.MULTILINE,
    )
    # The closing label of unlabelled metrics is an empty pair of braces.
    return {name.replace("{}", ""): float(value) for name, value in found}


def shown(envoy: EnvoyProcess, wanted: dict[str, float]) -> dict[str, float]:
    """Return the wanted metrics' values; Envoy takes a moment to merge its threads' histograms."""
    deadline = time.monotonic() + MERGE_SECONDS
    while True:
        found = samples(envoy)
        values = {name: found.get(name, 0) for name in wanted}
        if values == wanted or time.monotonic() > deadline:
            return values
        time.sleep(0.1)


def histogram(name: str, fill: list[int], label: str = "") -> dict[str, float]:
    """Return the samples of a histogram of batches, one bucket for each number of lanes."""
    wanted = {f"{name}_count" + (f"{{{label}}}" if label else ""): float(sum(fill))}
    labels = f"{label}," if label else ""
    for lanes in range(1, len(fill) + 1):
        wanted[f'{name}_bucket{{{labels}le="{lanes}"}}'] = sum(fill[:lanes])
    return wanted


def operations(found: dict[str, float], key: str, outcome: str) -> float:
    name = f'multibuffer_operations{{algorithm="{key}",outcome="{outcome}"}}'
    return found.get(name, 0)


@pytest.mark.parametrize("key", KEYS)
def test_statistics_agree_with_the_client(proxy: Proxy, key: KeyType) -> None:
    envoy = proxy.envoy
    envoy.get("/multibuffer")  # publishes
    before = samples(envoy)
    page_before = envoy.get_json("/multibuffer?format=json")["total"]["algorithms"][key]
    handshakes = proxy.load(key)
    page = envoy.get_json("/multibuffer?format=json")
    counted = page["total"]["algorithms"][key]
    after = samples(envoy)

    gained = {name: counted[name] - page_before[name] for name in ("batched", "single", "failed")}
    assert gained["batched"] + gained["single"] == handshakes
    assert gained["failed"] == 0
    for outcome in ("batched", "single"):
        of_envoy = operations(after, key, outcome) - operations(before, key, outcome)
        assert of_envoy == gained[outcome]
    assert operations(after, key, "failed") == operations(after, key, "dropped") == 0
    if CANNOT_BATCH:
        assert gained["batched"] == 0
    else:
        assert after[f'multibuffer_break_even_lanes{{algorithm="{key}"}}'] >= 1


def test_histograms_sum_to_the_operations(proxy: Proxy) -> None:
    """Whatever was counted, every operation and every call is in its histogram once."""
    proxy.load("rsa2048")
    total = proxy.envoy.get_json("/multibuffer?format=json")["total"]
    computed, wanted = 0, {}
    fills = {"rsa": [0] * 8, "ecdsa": [0] * 8}
    for key, counts in total["algorithms"].items():
        alone = counts["single"] + counts["failed"]
        computed += counts["batched"] + alone
        lanes = sum(lane * number for lane, number in enumerate(counts["fill"], start=1))
        assert lanes == counts["batched"]
        calls = sum(counts["fill"]) + alone
        assert sum(counts["compute"]) == calls
        label = f'algorithm="{key}"'
        wanted |= {f"multibuffer_compute_us_count{{{label}}}": calls}
        wanted |= histogram("multibuffer_batch_fill", counts["fill"], label)
        kind = "rsa" if key.startswith("rsa") else "ecdsa"
        fills[kind] = [a + b for a, b in zip(fills[kind], counts["fill"], strict=True)]
    assert sum(total["wait"]) == computed
    wanted |= {"multibuffer_queue_wait_us_count": computed}
    for kind, fill in fills.items():
        wanted |= histogram(f"cryptomb_{kind}_queue_sizes", fill)
    assert shown(proxy.envoy, wanted) == wanted


def test_workers_sum_to_the_total(proxy: Proxy) -> None:
    page = proxy.envoy.get_json("/multibuffer?format=json")
    assert sum(worker["submitted"] for worker in page["workers"]) == page["total"]["submitted"]
    assert page["total"]["submitted"] == proxy.setup.read().submitted
    for key in KEYS:
        for name in ("batched", "single"):
            parts = [worker["algorithms"][key][name] for worker in page["workers"]]
            assert sum(parts) == page["total"]["algorithms"][key][name]
    assert page["queue_depth"] == page["stalled_operations"] == 0


def test_page_says_what_is_in_use(proxy: Proxy) -> None:
    page = proxy.envoy.get_json("/multibuffer?format=json")
    assert page["versions"]["layout"].startswith("boringssl-")
    assert page["versions"]["abi"] == "v0.2.0"
    assert page["versions"]["openssl"].startswith("OpenSSL 3")
    assert page["tls_contexts"]["hooked"] == len(KEYS)
    assert page["cpu"]["avx512ifma"] == ("avx512ifma" in Path("/proc/cpuinfo").read_text())
    assert 0 < page["process"]["cpu_seconds"] < page["process"]["clock_seconds"]
    text = dict(line.split(": ", 1) for line in proxy.envoy.get("/multibuffer").splitlines())
    assert text["versions.layout"] == page["versions"]["layout"]
    assert text["total.submitted"] == str(page["total"]["submitted"])
    info = next(name for name in samples(proxy.envoy) if name.startswith("multibuffer_info"))
    assert f'layout="{page["versions"]["layout"]}"' in info
    assert "/multibuffer" in proxy.envoy.get("/help")


def test_timer_publishes_without_being_asked(proxy: Proxy) -> None:
    before = samples(proxy.envoy)
    context = client_context(proxy.ca)
    assert https_get(proxy.envoy.address("p256"), context).body
    # A single connection is signed for alone.
    wanted = {
        'multibuffer_operations{algorithm="p256",outcome="single"}': operations(
            before, "p256", "single"
        )
        + 1
    }
    assert shown(proxy.envoy, wanted) == wanted


def test_what_is_left_to_envoy(ca: CertAuthority, server: Server, tmp_path: Path) -> None:
    """A key that is not handled, and settings that are wrong: counted by reason."""
    setup = Setup(tmp_path / "stats")
    left = {
        "algorithm": setup.module(algorithms=["rsa4096"]),
        "settings": Module({"polici": "off"}),
    }
    listeners = [
        Listener(name, (Chain(tls=ServerTls(certificates=(server("p256"),), module=module)),))
        for name, module in left.items()
    ]
    warnings = (r"certificate left to Envoy", r"'polici' is not known")
    config = Bootstrap(listeners=listeners, metrics=Metrics())
    with running(config, tmp_path, allowed=warnings) as envoy:
        for name, count in (("algorithm", 2), ("settings", 3)):
            for _ in range(count):
                assert https_get(envoy.address(name), client_context(ca.cert)).body
        page = envoy.get_json("/multibuffer?format=json")
        assert page["tls_contexts"]["hooked"] == 0
        assert page["tls_contexts"]["key_not_handled"] == 1
        assert page["tls_contexts"]["standing_aside"] == 1
        assert page["connections_left"] == 5
        found = samples(envoy)
        assert found["multibuffer_connections_left"] == 5
        assert found['multibuffer_tls_contexts{result="standing_aside"}'] == 1
        assert page["total"]["submitted"] == 0


def test_without_the_extension_there_is_no_page(
    ca: CertAuthority, server: Server, tmp_path: Path
) -> None:
    setup = Setup(tmp_path / "stats")
    tls = ServerTls(certificates=(server("p256"),), module=setup.module())
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))
    with running(config, tmp_path) as envoy:
        with setup.signs(p256=1):
            assert https_get(envoy.address("tls"), client_context(ca.cert)).body
        with pytest.raises(LabError, match="404"):
            envoy.get("/multibuffer")
    assert "operations so far: batched 0, single 1" in envoy.log_text()
