"""Checks of a running proxy through its admin interface."""

from __future__ import annotations

from typing import Any, TypeAlias

import httpx2

from istio_kit.doctor import contexts
from istio_kit.doctor.known import EXTENSION, NO_EXTENSION_REMEDY, layout_check
from istio_kit.doctor.result import Check, fail, ok, warn
from istio_kit.errors import InputError, KitError

Json: TypeAlias = dict[str, Any]

_TIMEOUT_SECONDS = 10.0


def checks(url: str) -> list[Check]:
    """Return all checks of the proxy whose admin interface is at ``url``.

    Raises:
        InputError: not a URL.
        KitError: nothing answers there, or it is not Envoy's admin interface.
    """
    info = _get(url, "/server_info")
    dump = _get(url, "/config_dump")
    try:
        return _checks(info, dump)
    except (AttributeError, KeyError, TypeError) as error:
        raise KitError(
            f"--admin: {url} does not answer as Envoy's admin interface does; Istio's is port 15000"
        ) from error


def _checks(info: Json, dump: Json) -> list[Check]:
    found = [state(info), library(info), extension(info), layout(info)]
    found += rejected(dump)
    found += [_context(one) for one in contexts.of_dump(dump)]
    if not any(check.name.startswith(("listener ", "cluster ")) for check in found):
        remedy = "configure TLS on a listener or cluster (istio_kit render)"
        found.append(warn("TLS contexts", "none is configured", remedy))
    return found


def state(info: Json) -> Check:
    """Check that the proxy serves."""
    version, now = info["version"], info.get("state")
    if now == "LIVE":
        return ok("proxy", f"{version}, serving")
    remedy = "wait until it is ready, or read its log"
    return warn("proxy", f"{version}, state {now}", remedy)


def library(info: Json) -> Check:
    """Check the TLS library: the module reads BoringSSL's structures."""
    name = str(info["version"]).rpartition("/")[2]
    if name == "BoringSSL":
        return ok("TLS library", name)
    remedy = "use a build of Envoy with BoringSSL; the module stands aside in others"
    return fail("TLS library", name, remedy)


def extension(info: Json) -> Check:
    """Check that the proxy lists the extension point."""
    listed = info.get("node", {}).get("extensions", [])
    if any(one.get("name") == EXTENSION for one in listed):
        return ok("extension", EXTENSION)
    return fail("extension", f"the proxy does not list {EXTENSION}", NO_EXTENSION_REMEDY)


def layout(info: Json) -> Check:
    """Check the memory layout; release builds of Envoy use the commit's hash as build-id."""
    return layout_check(str(info["version"]).partition("/")[0])


def rejected(dump: Json) -> list[Check]:
    """Return a failure for every listener or cluster that the proxy refused to load."""
    found = []
    for name, state_of in contexts.error_states(dump):
        remedy = "mend the configuration (istio_kit validate); the older one stays in force"
        found.append(fail(name, f"rejected: {state_of}", remedy))
    return found


def _context(context: contexts.Context) -> Check:
    name = f"{context.place}, {context.side}"
    if context.key_provider:
        remedy = f"use one of both: the module leaves keys of provider {context.key_provider} alone"
        return warn(name, f"private key provider {context.key_provider}", remedy)
    if context.handshaker is None:
        return warn(name, "signed by Envoy itself", "add the handshaker: istio_kit render")
    if context.module != "multibuffer":
        remedy = "name the module multibuffer in dynamic_module_config"
        return warn(name, f"handshaker {context.handshaker}, module {context.module}", remedy)
    return ok(name, "handshaker of module multibuffer")


def _get(url: str, path: str) -> Json:
    base = url if "://" in url else f"http://{url}"
    try:
        # The admin interface is local: no proxy of the environment may come between.
        answer = httpx2.get(base.rstrip("/") + path, timeout=_TIMEOUT_SECONDS, trust_env=False)
        data = answer.raise_for_status().json()
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise InputError(f"--admin: {url}: {error}; write http://HOST:PORT") from error
    except httpx2.HTTPError as error:
        raise KitError(
            f"--admin: {url} does not answer {path}: {error}; is the proxy running, and this its "
            "admin port?"
        ) from error
    except ValueError as error:  # no JSON, or no text at all
        raise KitError(f"--admin: {url}{path} answers no JSON; is this the admin port?") from error
    if not isinstance(data, dict):
        raise KitError(f"--admin: {url}{path} answers no JSON object; is this the admin port?")
    return data
