"""Every scenario, with both load generators."""

from __future__ import annotations

import pytest

from e2e.checks import run_checked
from e2e.driver import Driver
from e2e.scenario import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(driver: Driver, scenario: Scenario) -> None:
    if not driver.runs(scenario):
        pytest.skip(f"not for the driver {driver.name}")
    with driver.deploy(scenario) as deployment:
        run_checked(deployment, "k6")
        run_checked(deployment, "fortio")


@pytest.mark.parametrize("tool", ["k6", "fortio"])
def test_open_loop(driver: Driver, tool: str) -> None:
    (scenario,) = [one for one in SCENARIOS if one.name == "gateway-p256-tls1.3"]
    with driver.deploy(scenario) as deployment:
        result = run_checked(deployment, "k6" if tool == "k6" else "fortio", rate=100.0)
        # Both start no more than they are told, and this host can do far more than that.
        assert 50 < result.handshakes <= 110
