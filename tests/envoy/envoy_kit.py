"""What the tests of real Envoys share: clients, the module's counters, the check of the log."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from envoy_ext import artifacts
from envoy_ext.cpu import ifma_reason
from istio_kit.lab import Bootstrap, Certificate, EnvoyProcess, Listener
from istio_kit.lab.log import unexpected_lines
from istio_kit.lab.module import ModuleSetup
from istio_kit.lab.process import clean_environment

SECONDS = 15
REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = "HTTP/1.1 200 OK"
BODY = "ok\n"

#: Why crypto_mb cannot batch here, None when it can.
CANNOT_BATCH = ifma_reason()


class Setup(ModuleSetup):
    """The module's settings and counters, with a check of the counters."""

    @contextmanager
    def signs(self, **expected: int) -> Iterator[None]:
        """Check that the body makes the module sign exactly so often, by algorithm.

        Nothing may fail or be dropped; an algorithm that is not named must not move.
        """
        before = self.read()
        yield
        after = self.read() - before
        signed = {name: after.signed(name) for name in after.ops if after.signed(name)}
        assert signed == {name: count for name, count in expected.items() if count}
        assert after.submitted == sum(expected.values())
        assert after.total("failed", "dropped") == 0
        assert (after.verify_failures, after.lane_errors, after.inline_ops) == (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What `openssl s_client` reported."""

    ok: bool
    text: str

    def _field(self, pattern: str) -> str | None:
        found = re.search(pattern, self.text, re.MULTILINE)
        return found.group(1).strip() if found else None

    @property
    def version(self) -> str | None:
        """Protocol, such as TLSv1.3."""
        return self._field(r"^(?:New|Reused), (\S+), Cipher is (?!\(NONE\))")

    @property
    def cipher(self) -> str | None:
        """OpenSSL's name of the cipher suite."""
        return self._field(r"^(?:New|Reused), \S+, Cipher is (\S+)")

    @property
    def digest(self) -> str | None:
        """Digest that the server signed with."""
        return self._field(r"^Peer signing digest: (.*)$")

    @property
    def signature(self) -> str | None:
        """Kind of the server's signature."""
        return self._field(r"^Peer signature type: (.*)$")

    @property
    def reused(self) -> bool:
        """Whether the session was resumed."""
        return self._field(r"^(Reused), ") is not None

    @property
    def key_bits(self) -> int | None:
        """Size of the key in the server's certificate."""
        bits = self._field(r"^Server public key is (\d+) bit")
        return int(bits) if bits else None

    @property
    def subject(self) -> str | None:
        """Common name in the server's certificate."""
        return self._field(r"^subject=CN\s*=\s*(.*)$")


def s_client(address: tuple[str, int], ca: Path, *arguments: str, sni: str = "localhost") -> Seen:
    """Make one handshake and one HTTP request with OpenSSL's client, which checks the server.

    `ok` tells whether the request was answered. The client verifies the server's signature.
    """
    command = [
        *("openssl", "s_client", "-connect", f"{address[0]}:{address[1]}"),
        *("-servername", sni, "-CAfile", str(ca), "-verify_return_error"),
        *arguments,
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=clean_environment({}, drop_prefixes=("OPENSSL_", "SSL_")),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            # It may end before it takes the request.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(REQUEST)
                process.stdin.flush()
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if line == BODY:
                    break
            # The end of its input ends it; Envoy would keep the connection.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            lines += process.stdout
            process.wait()
        finally:
            watchdog.cancel()
    text = "".join(lines)
    return Seen(f"{ANSWER}\n" in text.replace("\r", "") and BODY in lines, text)


def mutual_context(certificate: Certificate, ca: Path) -> ssl.SSLContext:
    """Return a server's context, which requires a client certificate and checks its signature."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def peer_name(tls: ssl.SSLSocket) -> str:
    """Return the common name in the other side's certificate."""
    subject: Any = (tls.getpeercert() or {})["subject"]
    return str(subject[0][0][1])


def respond(tls: ssl.SSLSocket) -> None:
    """Read one HTTP request and answer it."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += tls.recv(4096)
    tls.sendall(f"{ANSWER}\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{BODY}".encode())


def stat(envoy: EnvoyProcess, name: str) -> int:
    """Return one of Envoy's counters or gauges; 0 while there is none of that name."""
    return envoy.stats(f"^{re.escape(name)}$").get(name, 0)


def wait_for(what: Callable[[], bool]) -> None:
    """Ask until it is so."""
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def locked_kib(envoy: EnvoyProcess) -> int:
    """Return how much memory Envoy's process has locked."""
    status = Path(f"/proc/{envoy.pid}/status").read_text()
    found = re.search(r"^VmLck:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1])


def put_listeners(file: Path, listeners: Sequence[Listener | dict[str, Any]]) -> None:
    """Replace all listeners in a file that Envoy watches, atomically."""
    kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
    plain = [one.as_dict() if isinstance(one, Listener) else one for one in listeners]
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"resources": [{"@type": kind, **one} for one in plain]}))
    fresh.replace(file)


def watch_listeners(file: Path, listeners: Sequence[Listener]) -> dict[str, Any]:
    """Return the configuration of an Envoy that takes its listeners from `file`."""
    put_listeners(file, listeners)
    config = Bootstrap(listeners=()).as_dict()
    del config["static_resources"]["listeners"]
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    return config | {"dynamic_resources": {"lds_config": source}}


def client_context(ca: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a context that trusts `ca`, for one TLS version or for both."""
    context = ssl.create_default_context(cafile=str(ca))
    if version:
        context.minimum_version = context.maximum_version = version
    return context


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Python client got."""

    body: bytes
    session: ssl.SSLSession | None
    reused: bool
    version: str | None


def https_get(
    address: tuple[str, int],
    context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    sni: str = "localhost",
    seconds: float = SECONDS,
) -> Answer:
    """Make one handshake and one request."""
    with (
        socket.create_connection(address, seconds) as raw,
        context.wrap_socket(raw, server_hostname=sni, session=session) as tls,
    ):
        tls.sendall(REQUEST.encode())
        body = b""
        while not body.endswith(BODY.encode()):
            part = tls.recv(4096)
            assert part, f"closed after {body!r}"
            body += part
        return Answer(body, tls.session, bool(tls.session_reused), tls.version())


@contextmanager
def running(
    config: Bootstrap,
    directory: Path,
    *,
    name: str = "envoy",
    concurrency: int = 1,
    allowed: Sequence[str] = (),
) -> Iterator[EnvoyProcess]:
    """Run an Envoy that can load the module; check that it stops well and that its log is clean.

    Args:
        config: what Envoy is to do.
        directory: a folder for its files.
        name: distinguishes several Envoys in one folder.
        concurrency: worker threads.
        allowed: regular expressions of warnings that the test provokes.
    """
    envoy = EnvoyProcess(
        config, directory, name=name, module_dir=artifacts.module_dir(), concurrency=concurrency
    )
    with envoy:
        yield envoy
        assert envoy.returncode is None, envoy.log_text()[-4000:]
        assert envoy.stop() == 0
    assert unexpected_lines(envoy.log_text(), allowed) == []
