"""Certificates rotate while clients keep coming."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.checks import check_counts, check_log
from e2e.driver import Driver
from e2e.scenario import SCENARIOS

ROTATIONS = 5


def test_rotation_under_load(driver: Driver) -> None:
    (scenario,) = [one for one in SCENARIOS if one.name == "gateway-rsa2048-tls1.3"]
    (hop,) = scenario.hops
    if driver.name != "local":
        pytest.skip(f"not for the driver {driver.name}")
    with driver.deploy(scenario) as deployment, ThreadPoolExecutor(1) as pool:
        before = deployment.counters(hop.name)
        load = pool.submit(deployment.load, "k6", seconds=4.0, connections=16)
        names = {deployment.rotate(hop.name).name for _ in range(ROTATIONS)}
        assert not load.done()
        result = load.result()
        assert len(names) == ROTATIONS
        assert result.failed == 0
        check_counts(deployment, hop, deployment.counters(hop.name) - before, result)
        log = deployment.log(hop.name)
        assert log.count("multibuffer: TLS context hooked: RSA-2048 key") == ROTATIONS + 1
        check_log(deployment, hop)
