"""Starts a real Envoy with a bootstrap, and makes TLS handshakes with its listeners.

Envoy says "configuration OK" even when a module cannot be loaded, and then closes every connection:
only a handshake tells.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envoy_ext import artifacts
from envoy_ext.build import stage
from istio_kit import messages
from istio_kit.errors import InputError, KitError
from istio_kit.findings import Finding
from istio_kit.lab.envoy import EnvoyProcess
from istio_kit.lab.process import LabError, StartupError, clean_environment
from istio_kit.validate import typed
from istio_kit.validate.codes import finding
from istio_kit.validate.documents import Document
from istio_kit.validate.walk import Json, get, mapping, mappings

_SECONDS = 20
_SEARCH_PATH = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH"
_LOG_LINE = re.compile(
    r"^\[[^]]*\]\[\d+\]\[(?:warning|error|critical)\]\[[^]]*\] (?:\[[^]]*\] )?(.*)$"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is run; ``module_dir`` None: a folder is made from the installed parts."""

    envoy: Path
    module_dir: Path | None

    @classmethod
    def chosen(cls, envoy: Path | None, module_dir: Path | None) -> Parts:
        """Return the given parts, the installed ones for None.

        Raises:
            InputError: the given Envoy is not a program.
            KitError: there is no Envoy.
        """
        if envoy and not os.access(envoy, os.X_OK):
            raise InputError(f"--envoy: {envoy} is not a program; check the path")
        try:
            return cls(envoy or artifacts.envoy_path(), module_dir)
        except artifacts.MissingArtifactError as error:
            raise KitError(f"{error}, or name one with --envoy") from error


@dataclass(frozen=True, slots=True)
class _Target:
    """One TLS chain: ``port`` is asked for once Envoy runs; ``name`` is sent as SNI."""

    listener: str
    name: str | None
    with_module: bool
    path: str


def check_bootstrap(document: Document, parts: Parts) -> list[Finding]:
    """Return what Envoy says of a bootstrap, and what handshakes with it show.

    Listeners and the admin interface get free ports of 127.0.0.1 instead of their own.
    """
    with tempfile.TemporaryDirectory(prefix="multibuffer-") as scratch:
        folder = Path(scratch)
        module_dir = parts.module_dir
        if module_dir is None:
            module_dir = folder / "module"
            _stage(module_dir)
        rejected = _rejection(document, parts.envoy, module_dir, folder)
        if rejected:
            return [finding("MBK0220", document.at(""), rejected)]
        config = _local(document.data)
        envoy = EnvoyProcess(config, folder, binary=parts.envoy, module_dir=module_dir)
        try:
            with envoy:
                targets = list(_targets(config))
                failed = [one for target in targets for one in _try(document, envoy, target)]
                envoy.stop()
        except StartupError as error:
            detail = " / ".join(_complaints(envoy)) or str(error).splitlines()[0]
            return [finding("MBK0220", document.at(""), detail)]
        return failed or list(_unsigned(document, envoy, targets))


def _stage(folder: Path) -> None:
    try:
        stage(folder)
    except artifacts.MissingArtifactError as error:
        raise KitError(str(error)) from error


def _rejection(document: Document, envoy: Path, module_dir: Path, folder: Path) -> str | None:
    """Return why `envoy --mode validate` refuses the document as it is."""
    path = folder / "as-written.json"
    try:
        path.write_text(json.dumps(document.data))
    except (TypeError, ValueError) as error:  # YAML has dates and the like, JSON has not
        return str(error)
    try:
        done = subprocess.run(
            [str(envoy), "--mode", "validate", "-c", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            env=clean_environment({_SEARCH_PATH: str(module_dir)}, drop_prefixes=("ENVOY_",)),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KitError(f"{envoy} does not run: {error}") from error
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return next((line for line in lines if "rror" in line), lines[-1] if lines else "no reason")


def _local(data: Json) -> Json:
    """Return the configuration with free ports of the loopback interface."""
    config = copy.deepcopy(data)
    listeners = get(config, "static_resources", "listeners") or []
    for number, listener in enumerate(listeners):
        listener.setdefault("name", f"listener-{number}")
        if mapping(listener, "address", "socket_address"):
            listener["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": 0}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    config["admin"] = {**mapping(config, "admin"), "address": address}
    return config


def _targets(config: Json) -> Iterator[_Target]:
    for number, listener in enumerate(get(config, "static_resources", "listeners") or []):
        for index, chain in enumerate(listener.get("filter_chains") or ()):
            context = mapping(chain, "transport_socket", "typed_config")
            if typed.type_name(context.get("@type")) != messages.DOWNSTREAM:
                continue
            names = get(chain, "filter_chain_match", "server_names") or [None]
            module = any(
                get(node, "dynamic_module_config", "name") == "multibuffer"
                for _, node in mappings(context)
            )
            path = f".static_resources.listeners[{number}].filter_chains[{index}]"
            name = names[0].replace("*", "x") if names[0] else None
            yield _Target(listener["name"], name, module, path)


def _try(document: Document, envoy: EnvoyProcess, target: _Target) -> Iterator[Finding]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Whether the certificate is trusted is not asked here, only whether the key signs.
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(envoy.address(target.listener), timeout=_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=target.name) as tls,
        ):
            tls.version()
    except (OSError, LabError) as error:
        # A server that asks for a client's certificate has proven its own key before.
        if "CERTIFICATE_REQUIRED" not in str(error):
            detail = " / ".join([str(error), *_complaints(envoy)])
            yield finding("MBK0221", document.at(target.path), detail)


def _unsigned(document: Document, envoy: EnvoyProcess, targets: list[_Target]) -> Iterator[Finding]:
    expected = [target for target in targets if target.with_module]
    counts = re.findall(r"multibuffer: operations so far: batched (\d+), single (\d+)", _log(envoy))
    if expected and sum(int(batched) + int(single) for batched, single in counts) == 0:
        yield finding("MBK0222", document.at(expected[0].path), " / ".join(_complaints(envoy)))


def _complaints(envoy: EnvoyProcess) -> list[str]:
    """Return what Envoy and the module complain about, each once, the latest three."""
    found = [match[1] for line in _log(envoy).splitlines() if (match := _LOG_LINE.match(line))]
    told = [line for line in dict.fromkeys(found) if "ENVOY_SIGTERM" not in line]
    return told[-3:]


def _log(envoy: EnvoyProcess) -> str:
    with contextlib.suppress(OSError):
        return envoy.log_text()
    return ""
