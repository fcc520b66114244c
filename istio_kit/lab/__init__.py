"""A small library for running real processes: Envoy, k6, Fortio, and certificates for them.

Used by the demo, the tests and the benchmarks::

    ca = CertAuthority(directory)
    tls = ServerTls(certificates=(ca.issue("server", key="rsa2048"),))
    config = Bootstrap(listeners=(Listener("tls", (Chain(tls=tls),)),))
    with EnvoyProcess(config, directory) as envoy:
        result = run_k6(Load(url=envoy.url("tls"), seconds=1, connections=8), directory)
        assert envoy.stats()["listener.tls.ssl.handshake"] == result.handshakes
"""

from __future__ import annotations

from istio_kit.lab.certs import KEY_TYPES, CertAuthority, Certificate, KeyType
from istio_kit.lab.config import (
    Bootstrap,
    Chain,
    ClientTls,
    Cluster,
    Listener,
    Metrics,
    Module,
    Respond,
    RouteTo,
    Secret,
    ServerTls,
    TcpProxy,
    write_secret,
)
from istio_kit.lab.envoy import EnvoyProcess
from istio_kit.lab.fortio import FortioServer, run_fortio
from istio_kit.lab.k6 import run_k6
from istio_kit.lab.load import Load, LoadResult
from istio_kit.lab.node import Node, can_isolate, nodes
from istio_kit.lab.process import LabError, StartupError

__all__ = [
    "KEY_TYPES",
    "Bootstrap",
    "CertAuthority",
    "Certificate",
    "Chain",
    "ClientTls",
    "Cluster",
    "EnvoyProcess",
    "FortioServer",
    "KeyType",
    "LabError",
    "Listener",
    "Load",
    "LoadResult",
    "Metrics",
    "Module",
    "Node",
    "Respond",
    "RouteTo",
    "Secret",
    "ServerTls",
    "StartupError",
    "TcpProxy",
    "can_isolate",
    "nodes",
    "run_fortio",
    "run_k6",
    "write_secret",
]
