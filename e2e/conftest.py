"""Options of the end-to-end runs."""

from __future__ import annotations

import pytest

from e2e.driver import Driver
from e2e.drivers import DRIVERS, choose
from istio_kit.lab.host import parse_cpus


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("e2e")
    group.addoption("--driver", default="auto", choices=("auto", *DRIVERS))
    group.addoption("--gateway-cpus", default="", help="such as 0 or 0,2-3; default: any")
    group.addoption("--client-cpus", default="", help="such as 1; default: any")
    group.addoption("--loopback", action="store_true", help="no network namespaces, even as root")


@pytest.fixture(scope="session")
def driver(pytestconfig: pytest.Config) -> Driver:
    chosen = choose(
        pytestconfig.getoption("--driver"),
        gateway_cpus=_cpus(pytestconfig.getoption("--gateway-cpus")),
        client_cpus=_cpus(pytestconfig.getoption("--client-cpus")),
        loopback=pytestconfig.getoption("--loopback"),
    )
    missing = chosen.missing()
    if missing:
        pytest.exit("\n".join([f"the driver {chosen.name} lacks:", *missing]), returncode=1)
    return chosen


def _cpus(text: str) -> tuple[int, ...]:
    try:
        return parse_cpus(text)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
