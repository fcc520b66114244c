"""An Envoy with the probe module, one listener for each of the prober's keys."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from envoy_ext.layout.errors import ProbeError
from envoy_ext.layout.search import PrivateKey, Sample

START_SECONDS = 20.0
NO_HANDSHAKER = "envoy.tls.handshakers.dynamic_modules"
TYPES = "type.googleapis.com/envoy.extensions"


class TargetError(ProbeError):
    """This Envoy cannot be probed; the text says why."""


@dataclass(frozen=True)
class Identity:
    """A key of the prober's and its self-signed certificate."""

    name: str
    key: PrivateKey
    certificate: x509.Certificate


def make_identities() -> list[Identity]:
    """RSA-2048, P-256 and P-384."""
    keys: dict[str, PrivateKey] = {
        "rsa2048": rsa.generate_private_key(65537, 2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
    }
    return [Identity(name, key, _self_signed(key)) for name, key in keys.items()]


def _self_signed(key: PrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "layout-probe")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def _listener(name: str, folder: Path) -> dict[str, Any]:
    handshaker = {
        "name": NO_HANDSHAKER,
        "typed_config": {
            "@type": f"{TYPES}.transport_sockets.tls.handshakers.dynamic_modules.v3."
            "DynamicModuleTlsHandshaker",
            "dynamic_module_config": {"name": "multibuffer_probe"},
            "handshaker_name": "probe",
        },
    }
    certificate = {
        "certificate_chain": {"filename": str(folder / f"{name}.crt")},
        "private_key": {"filename": str(folder / f"{name}.key")},
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.echo",
                        "typed_config": {"@type": f"{TYPES}.filters.network.echo.v3.Echo"},
                    }
                ],
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
                        "common_tls_context": {
                            "tls_certificates": [certificate],
                            "custom_handshaker": handshaker,
                        },
                    },
                },
            }
        ],
    }


def _die_with_parent() -> None:
    """In the child: no Envoy outlives the prober (Linux PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Target:
    """The running Envoy; a context manager that always ends the process.

    ``folder`` is scratch space of the caller's and holds ``libmultibuffer_probe.so``.
    """

    def __init__(
        self,
        envoy: Path,
        folder: Path,
        identities: list[Identity],
        *,
        abi: str,
        offsets: str | None = None,
    ) -> None:
        self.identities = identities
        self._folder = folder
        self._report = folder / "report"
        self._report.unlink(missing_ok=True)
        self._admin = folder / "admin"
        self._admin.unlink(missing_ok=True)
        self._log = folder / "envoy.log"
        self._write_files()
        environment = {
            **os.environ,
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(folder),
            "MBK_PROBE_REPORT": str(self._report),
            "MBK_PROBE_ABI": abi,
        }
        if offsets is not None:
            environment["MBK_PROBE_OFFSETS"] = offsets
        command = [str(envoy), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
        command += ["--use-dynamic-base-id", "--admin-address-path", str(self._admin)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def _write_files(self) -> None:
        for identity in self.identities:
            key = self._folder / f"{identity.name}.key"
            key.touch(mode=0o600)
            key.write_bytes(
                identity.key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            certificate = identity.certificate.public_bytes(serialization.Encoding.PEM)
            (self._folder / f"{identity.name}.crt").write_bytes(certificate)
        bootstrap = {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {
                "listeners": [_listener(one.name, self._folder) for one in self.identities]
            },
        }
        (self._folder / "envoy.json").write_text(json.dumps(bootstrap))

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()

    def log_text(self) -> str:
        """What Envoy wrote so far."""
        return self._log.read_text(errors="replace")

    def reports(self, what: str) -> list[int]:
        """Values that the probe module reported under this name, in order."""
        lines = self._report.read_text().splitlines() if self._report.exists() else []
        return [int(value, 16) for name, value in map(str.split, lines) if name == what]

    def wait_for(self, what: str, count: int) -> list[int]:
        """Waits for reports; TargetError when Envoy ends or they do not come."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            values = self.reports(what)
            if len(values) >= count:
                return values
            if self.process.poll() is not None:
                raise TargetError(self._why_ended())
            time.sleep(0.02)
        raise TargetError(
            f"the probe module reported {len(self.reports(what))} of {count} '{what}' within "
            f"{START_SECONDS:.0f} s; Envoy's last lines:\n{self._tail()}"
        )

    def _tail(self) -> str:
        return "\n".join(self.log_text().splitlines()[-5:])

    def _why_ended(self) -> str:
        text = self.log_text()
        if NO_HANDSHAKER in text and "Didn't find a registered implementation" in text:
            return (
                "this Envoy has no TLS handshaker extension point for dynamic modules "
                f"({NO_HANDSHAKER}). It came with Envoy 1.40; use that or a later one."
            )
        return f"Envoy ended with status {self.process.returncode}:\n{self._tail()}"

    def samples(self) -> list[Sample]:
        """The contexts, in the order of the listeners."""
        contexts = self.wait_for("ctx", len(self.identities))
        return [
            Sample(context, one.key, one.certificate)
            for context, one in zip(contexts, self.identities, strict=True)
        ]

    def ports(self) -> list[int]:
        """The listeners' ports, in their order."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._admin.exists() and ":" in (address := self._admin.read_text().strip()):
                by_name = self._read_ports(address)
                if by_name:
                    return [by_name[one.name] for one in self.identities]
            if self.process.poll() is not None:
                raise TargetError(self._why_ended())
            time.sleep(0.02)
        raise TargetError(f"Envoy opened no listener; its last lines:\n{self._tail()}")

    def _read_ports(self, address: str) -> dict[str, int]:
        url = f"http://{address}/listeners?format=json"
        with urllib.request.urlopen(url, timeout=5) as reply:
            statuses = json.load(reply).get("listener_statuses", [])
        found = {
            one["name"]: one["local_address"]["socket_address"]["port_value"] for one in statuses
        }
        return found if len(found) == len(self.identities) else {}

    def handshake(self, port: int) -> None:
        """Starts one TLS handshake; the probe's method makes it fail, which is no error."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
                context.wrap_socket(raw),
            ):
                pass
        except (ssl.SSLError, OSError):
            return
