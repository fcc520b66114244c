"""Runs an Envoy binary with the probe module, in a folder that is gone afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy_ext.layout.errors import NoExtensionPointError, ProbeError
from envoy_ext.layout.keys import KnownKey

PACKAGE = Path(__file__).resolve().parents[1]
SOURCE = PACKAGE / "layout" / "probe_module.c"
PREBUILT = PACKAGE / "_lib" / "libmultibuffer_probe.so"

_START_SECONDS = 60.0
_STEP_SECONDS = 0.02
_ANSWER_SECONDS = 15.0
_EXTENSION = "envoy.tls.handshakers.dynamic_modules"
_TYPES = "type.googleapis.com/envoy.extensions"
# An Envoy without the extension knows neither the type of its configuration nor its name.
_WITHOUT_EXTENSION = re.compile(
    r"could not find @type '[^']*DynamicModuleTlsHandshaker'"
    rf"|registered implementation[^\n]{{0,80}}'{re.escape(_EXTENSION)}'"
)


@dataclass(frozen=True)
class Connection:
    """A connection that Envoy holds: its SSL, and the descriptors that appeared with it."""

    ssl: int
    sockets: frozenset[int]


@dataclass(frozen=True)
class Report:
    """A line of the probe module; what the addresses mean: probe_module.c."""

    what: str
    address: int
    second: int


def install_module(folder: Path) -> None:
    """Put ``libmultibuffer_probe.so`` into `folder`: compiled, or the installed one.

    Raises:
        ProbeError: there is neither a compiler nor a compiled module.
    """
    target = folder / PREBUILT.name
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        if not PREBUILT.exists():
            raise ProbeError(
                "the probe module needs a C compiler. Install one (Debian, Ubuntu: apt-get "
                "install gcc libc6-dev) or set CC."
            )
        shutil.copy2(PREBUILT, target)
        return
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"]
    command = [compiler, *flags, str(SOURCE), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProbeError(f"the probe module does not compile:\n{done.stderr.rstrip()}")


class Session:
    """A running Envoy: one TLS listener per key, on a socket in the session's folder."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process

    def reports(self, what: str) -> list[Report]:
        """Return what the probe module has told so far, oldest first."""
        try:
            lines = (self.folder / "report").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        told = (line.split() for line in lines)
        return [Report(kind, int(one, 16), int(two, 16)) for kind, one, two in told if kind == what]

    def log(self) -> str:
        """Return Envoy's log so far."""
        return (self.folder / "envoy.log").read_text(encoding="utf-8", errors="replace")

    def wait_for(self, what: str, count: int, seconds: float = _ANSWER_SECONDS) -> list[Report]:
        """Wait until there are `count` reports of a kind, and return them.

        Raises:
            ProbeError: they did not come in time, or Envoy ended.
        """
        end = time.monotonic() + seconds
        while len(reports := self.reports(what)) < count:
            if self.process.poll() is not None:
                raise ended(self.log(), self.process.returncode)
            if time.monotonic() > end:
                raise ProbeError(
                    f"the probe module told {len(reports)} of {count} '{what}' within "
                    f"{seconds:.0f} s; last lines of Envoy's log:\n{_tail(self.log())}"
                )
            time.sleep(_STEP_SECONDS)
        return reports

    @contextmanager
    def silent_connections(self, keys: Sequence[KnownKey]) -> Iterator[list[Connection]]:
        """Open one connection per key, send nothing, and give what Envoy made of them."""
        found: list[Connection] = []
        with ExitStack() as stack:
            for count, key in enumerate(keys, start=1):
                before = self._sockets()
                stack.enter_context(self._connect(key))
                report = self.wait_for("ssl", count)[-1]
                found.append(Connection(report.address, self._sockets() - before))
            yield found

    def try_handshake(self, key: KnownKey) -> None:
        """Begin a TLS handshake with a key's listener; its failure is no matter."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The other side is our own child, and its certificate is self-signed.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            suppress(OSError),
            self._connect(key) as plain,
            context.wrap_socket(plain) as tls,
        ):
            tls.do_handshake()

    def _sockets(self) -> frozenset[int]:
        """Return Envoy's descriptors that are sockets."""
        found = set()
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                if str(entry.readlink()).startswith("socket:"):
                    found.add(int(entry.name))
        return frozenset(found)

    def _connect(self, key: KnownKey) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(self.folder / key.name))
        except OSError as error:
            connection.close()
            raise ProbeError(f"Envoy does not accept connections: {error.strerror}") from error
        return connection


@contextmanager
def running(
    envoy: Path, keys: Sequence[KnownKey], environment: Mapping[str, str]
) -> Iterator[Session]:
    """Run `envoy` until it has a TLS context per key and its workers accept connections.

    Raises:
        NoExtensionPointError: this Envoy has no TLS handshaker for dynamic modules.
        ProbeError: Envoy does not start.
    """
    with tempfile.TemporaryDirectory(prefix="mbk-probe-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        install_module(folder)
        for key in keys:
            (folder / f"{key.name}.crt").write_bytes(key.certificate)
            (folder / f"{key.name}.key").write_bytes(key.private_key)
        (folder / "envoy.json").write_text(json.dumps(_bootstrap(folder, keys)))
        process = _start(envoy, folder, environment)
        try:
            session = Session(folder, process)
            session.wait_for("ctx", len(keys), _START_SECONDS)
            _wait_for_workers(session)
            yield session
        finally:
            process.kill()
            process.wait()


def _start(envoy: Path, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [str(envoy.resolve()), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
    command += ["--disable-hot-restart", "--log-level", "info"]
    with (folder / "envoy.log").open("wb") as log:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={
                    **os.environ,
                    **environment,
                    "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(folder),
                    "MBK_PROBE_REPORT": str(folder / "report"),
                },
            )
        except OSError as error:
            raise ProbeError(f"{envoy} cannot be run: {error.strerror}") from error


def _wait_for_workers(session: Session) -> None:
    end = time.monotonic() + _START_SECONDS
    while "starting main dispatch loop" not in session.log():
        if session.process.poll() is not None:
            raise ended(session.log(), session.process.returncode)
        if time.monotonic() > end:
            raise ProbeError(f"Envoy does not start; its log ends:\n{_tail(session.log())}")
        time.sleep(_STEP_SECONDS)


def ended(log: str, status: int) -> ProbeError:
    """Make the error that says why Envoy ended."""
    if _WITHOUT_EXTENSION.search(log):
        return NoExtensionPointError(
            "this Envoy has no TLS handshaker extension point for dynamic modules "
            f"({_EXTENSION}); the module needs Envoy 1.40 or newer"
        )
    if not log.strip():
        return ProbeError(f"it ended with status {status} and wrote no log: is it an Envoy?")
    return ProbeError(f"Envoy ended with status {status}; its log ends:\n{_tail(log)}")


def _tail(log: str) -> str:
    return "\n".join(line[:500] for line in log.splitlines()[-5:])


def _bootstrap(folder: Path, keys: Sequence[KnownKey]) -> dict[str, Any]:
    return {"static_resources": {"listeners": [_listener(folder, key) for key in keys]}}


def _listener(folder: Path, key: KnownKey) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "probe",
        "route_config": {},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    tls = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(folder / f"{key.name}.crt")},
                    "private_key": {"filename": str(folder / f"{key.name}.key")},
                }
            ],
            "custom_handshaker": {
                "name": _EXTENSION,
                "typed_config": {
                    "@type": f"{_TYPES}.transport_sockets.tls.handshakers.dynamic_modules.v3."
                    "DynamicModuleTlsHandshaker",
                    "dynamic_module_config": {"name": "multibuffer_probe"},
                    "handshaker_name": "probe",
                },
            },
        },
    }
    return {
        "name": key.name,
        "address": {"pipe": {"path": str(folder / key.name)}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ],
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
            }
        ],
    }
