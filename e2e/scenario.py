"""What is run end to end: a path of proxies, and which of them have the module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from istio_kit.lab.certs import KeyType
from istio_kit.lab.config import TlsVersion

Security: TypeAlias = Literal["plain", "tls", "mtls"]
Accelerated: TypeAlias = Literal["module", "no-ifma", "stock", "wrong-settings"]


@dataclass(frozen=True, slots=True)
class Hop:
    """A proxy on the path: on which node it runs, and what it accepts."""

    name: str
    node: Literal["client", "gateway", "server"]
    accepts: Security
    accelerated: Accelerated = "module"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A path from the client to the server; the last hop talks plain HTTP to Fortio."""

    name: str
    hops: tuple[Hop, ...]
    key: KeyType = "rsa2048"
    tls: TlsVersion = "1.3"

    def sends(self, hop: Hop) -> Security:
        """Return how `hop` connects to what comes next."""
        following = self.hops[self.hops.index(hop) + 1 :]
        return following[0].accepts if following else "plain"

    def signatures(self, hop: Hop) -> int:
        """Return how many private-key operations of the module one request costs at `hop`."""
        if hop.accelerated in ("stock", "no-ifma", "wrong-settings"):
            return 0
        return (hop.accepts != "plain") + (self.sends(hop) == "mtls")


def edge(accepts: Security, accelerated: Accelerated = "module") -> tuple[Hop, ...]:
    """Return a gateway that terminates TLS."""
    return (Hop("gateway", "gateway", accepts, accelerated),)


def sidecars(client: Accelerated, server: Accelerated) -> tuple[Hop, ...]:
    """Return two sidecars with mutual TLS between them."""
    return (
        Hop("client-sidecar", "client", "plain", client),
        Hop("server-sidecar", "server", "mtls", server),
    )


def mesh(gateway: Accelerated, server: Accelerated) -> tuple[Hop, ...]:
    """Return a gateway, and mutual TLS from there to a sidecar."""
    return (
        Hop("gateway", "gateway", "tls", gateway),
        Hop("server-sidecar", "server", "mtls", server),
    )


_KEYS: tuple[KeyType, ...] = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")
_VERSIONS: tuple[TlsVersion, ...] = ("1.2", "1.3")

SCENARIOS: tuple[Scenario, ...] = (
    *(
        Scenario(f"gateway-{key}-tls{version}", edge("tls"), key, version)
        for key in _KEYS
        for version in _VERSIONS
    ),
    Scenario("gateway-mtls", edge("mtls")),
    Scenario("gateway-mtls-p256-tls1.2", edge("mtls"), "p256", "1.2"),
    Scenario("sidecars", sidecars("module", "module")),
    Scenario("sidecars-p256", sidecars("module", "module"), "p256"),
    # What is configured for the whole mesh, for one gateway, and for one pod.
    Scenario("scope-mesh", mesh("module", "module")),
    Scenario("scope-gateway", mesh("module", "stock")),
    Scenario("scope-pod", mesh("stock", "module")),
    # A fleet in which one node cannot do it; nothing but the speed may differ.
    Scenario("mixed-client-without-ifma", sidecars("no-ifma", "module")),
    Scenario("mixed-server-without-ifma", sidecars("module", "no-ifma")),
    Scenario("wrong-settings", edge("tls", "wrong-settings")),
)
