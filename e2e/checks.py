"""What has to be true before a number is worth anything."""

from __future__ import annotations

from e2e.driver import Counters, Deployment, Tool
from e2e.scenario import Hop
from istio_kit.lab import LoadResult
from istio_kit.lab.log import unexpected_lines

GOOD_SHARE = 0.99

# Warnings that belong to a scenario, and why.
ALLOWED: dict[str, tuple[str, ...]] = {
    # It says that it stands aside, as it has to.
    "no-ifma": (r"multibuffer: libcrypto_mb cannot be loaded: .*; standing aside, Envoy signs$",),
    "wrong-settings": (
        r"multibuffer: .*field 'polcy' is not known.*; standing aside, Envoy signs$",
    ),
}


def run_checked(
    deployment: Deployment,
    tool: Tool,
    *,
    seconds: float = 1.0,
    connections: int = 16,
    rate: float | None = None,
) -> LoadResult:
    """Load a deployment; fail unless every proxy counted what the load generator counted."""
    scenario = deployment.scenario
    before = {hop.name: deployment.counters(hop.name) for hop in scenario.hops}
    result = deployment.load(tool, seconds=seconds, connections=connections, rate=rate)
    assert result.handshakes > 0, f"no request succeeded: {result}"
    share = result.handshakes / (result.handshakes + result.failed)
    assert share >= GOOD_SHARE, f"{share:.1%} of the requests were answered: {result}"
    for hop in scenario.hops:
        counted = deployment.counters(hop.name) - before[hop.name]
        check_counts(deployment, hop, counted, result)
        check_log(deployment, hop)
    return result


def check_counts(deployment: Deployment, hop: Hop, counted: Counters, result: LoadResult) -> None:
    """Fail unless a proxy saw a new connection, and handshakes, for every request."""
    scenario = deployment.scenario
    least = result.handshakes + result.warm_up
    where = f"{scenario.name}, {hop.name}: {counted}"
    assert least <= counted.requests <= least + result.failed, where
    assert counted.connections == counted.requests, where
    assert counted.upstream_connections == counted.requests, where
    assert counted.handshakes == (counted.requests if hop.accepts != "plain" else 0), where
    encrypted = scenario.sends(hop) != "plain"
    assert counted.upstream_handshakes == (counted.requests if encrypted else 0), where
    assert counted.resumed == 0, where
    assert counted.signed == deployment.signatures(hop) * counted.requests, where


def check_log(deployment: Deployment, hop: Hop) -> None:
    """Fail on warnings that nobody expected, and when an expected one is missing."""
    log, expected = deployment.log(hop.name), ALLOWED.get(hop.accelerated, ())
    assert unexpected_lines(log, (*expected, *deployment.allowed)) == [], hop.name
    if expected:
        assert unexpected_lines(log, deployment.allowed), (
            f"{hop.name} did not say that it stands aside"
        )
