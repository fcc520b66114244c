"""Runs Fortio: as a load generator with a new TLS connection per request, and as a server."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from istio_kit.lab.gotools import FORTIO, go_tool
from istio_kit.lab.load import (
    REQUEST_TIMEOUT_SECONDS,
    Load,
    LoadResult,
    Percentiles,
    run_generator,
)
from istio_kit.lab.node import HOST, Node
from istio_kit.lab.process import LabError, StartupError, clean_environment, tail

_PERCENTILES = "50,90,99,99.9"
# Seconds; Fortio's own millisecond is longer than a handshake.
_RESOLUTION = "0.00001"
_START_SECONDS = 10.0
_HTTP_BAD = 400


def fortio_path() -> Path:
    """Return the Fortio program; it is built when it is not there yet.

    Raises:
        LabError: it is not there and cannot be built.
    """
    return go_tool(FORTIO)


def run_fortio(load: Load, directory: Path, name: str = "fortio") -> LoadResult:
    """Run Fortio to the end; its log and its own JSON are files called `name` in `directory`.

    Raises:
        LabError: Fortio could not do its work (requests that fail are counted, not raised).
    """
    output, log = directory / f"{name}.json", directory / f"{name}.log"
    output.unlink(missing_ok=True)
    command = load.node.wrap([str(fortio_path()), "load", *options(load, output), load.url])
    # As for k6: the client must not be the bottleneck.
    environment = clean_environment({"GOGC": "800"}, drop_prefixes=("FORTIO_",))
    cpu_seconds = run_generator("Fortio", command, environment, log, load.seconds)
    if not output.exists():
        raise LabError(f"Fortio wrote no result; the end of its log:\n{tail(log)}")
    return result(load, json.loads(output.read_text()), cpu_seconds, command)


def options(load: Load, output: Path) -> list[str]:
    """Return Fortio's options for a load, with its result written to `output` (`-`: stdout)."""
    values = {
        "qps": f"{load.rate or 0:g}",
        "c": load.connections,
        "t": f"{load.seconds:g}s",
        "timeout": f"{REQUEST_TIMEOUT_SECONDS}s",
        "r": _RESOLUTION,
        "p": _PERCENTILES,
        "json": output,
    }
    if load.ca:
        values["cacert"] = load.ca
    if load.client_certificate:
        values |= {"cert": load.client_certificate.cert, "key": load.client_certificate.key}
    for address in load.hosts.values():
        values["resolve"] = address.partition(":")[0]
    flags = ["-keepalive=false", "-log-errors=false", "-allow-initial-errors"]
    flags += ["-uniform", "-nocatchup"] if load.rate else []
    flags += [] if load.ca else ["-k"]
    return [*flags, *(word for name, value in values.items() for word in (f"-{name}", str(value)))]


def result(
    load: Load,  # noqa: ARG001 - as that of k6
    data: Mapping[str, Any],
    cpu_seconds: float,
    command: Sequence[str],
) -> LoadResult:
    """Return what Fortio saw, from its own JSON."""
    codes = {int(code): int(count) for code, count in data["RetCodes"].items()}
    requests = sum(codes.values())
    good = sum(count for code, count in codes.items() if 0 < code < _HTTP_BAD)
    seconds = data["ActualDuration"] / 1e9
    return LoadResult(
        handshakes=good,
        failed=requests - good,
        not_started=0,
        warm_up=int(data["SocketCount"]) - requests,
        seconds=seconds,
        rate=good / seconds,
        tls=_percentiles(data["ConnectionStats"]),
        request=_percentiles(data["DurationHistogram"]),
        cpu_seconds=cpu_seconds,
        command=tuple(command),
    )


def _percentiles(histogram: Mapping[str, Any]) -> Percentiles:
    """Return milliseconds; Fortio gives none when nothing was counted."""
    values = {entry["Percentile"]: entry["Value"] * 1e3 for entry in histogram["Percentiles"] or ()}
    p50, p90, p99, p999 = (values.get(key, 0.0) for key in (50, 90, 99, 99.9))
    return Percentiles(p50, p90, p99, p999)


class FortioServer:
    """Fortio's HTTP echo server, inside a `with` block; `address` is where it listens."""

    def __init__(self, directory: Path, node: Node = HOST, *, port: int = 0) -> None:
        """Prepare; port 0 takes a free one."""
        self._node, self._port = node, port
        self._log = directory / "fortio-server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = (node.address, port)

    def __enter__(self) -> Self:
        """Start the server and wait until it listens."""
        others = [
            word
            for name in ("grpc-port", "redirect-port", "tcp-port", "udp-port")
            for word in (f"-{name}", "disabled")
        ]
        where = f"{self._node.address}:{self._port}"
        command = [str(fortio_path()), "server", "-http-port", where, "-ui-path", "", *others]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._node.wrap(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment({}, drop_prefixes=("FORTIO_",)),
                start_new_session=True,
            )
        try:
            self.address = (self._node.address, self._wait_port(self._process))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def stop(self) -> None:
        """End the server at once; it holds nothing that could be lost."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int | None:
        """Process id, None before the start."""
        return self._process.pid if self._process else None

    def _wait_port(self, process: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            found = re.search(r"listening on tcp \S*:(\d+)", self._log.read_text(errors="replace"))
            if found:
                return int(found.group(1))
            time.sleep(0.02)
        raise StartupError(f"Fortio's server does not listen; its log:\n{tail(self._log)}")
