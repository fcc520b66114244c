"""What is not rendered because it could not work, each with the reason and the way out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from istio_kit.findings import Finding
from istio_kit.istio.releases import RELEASES, lacks_qat, release_of
from istio_kit.model.types import Input
from istio_kit.render.envoyfilter import TERMINATING

Rule = Callable[[Input], Iterator[Finding]]

_MILLISECONDS = re.compile(r"^(\d+(?:\.\d+)?)(ms|s)$")
_MAX_MS = 999


def refusals(wanted: Input) -> list[Finding]:
    """Return all reasons not to render; none when it can be."""
    if wanted.target == "envoy":
        rules: tuple[Rule, ...] = (_only_module, _metrics)
    elif wanted.target == "envoy-gateway":
        rules = (_only_module, _gateway_scope, _metrics)
    else:
        rules = (_version, _module_proxy, _module_scope, _metrics, _gateway_ports, *_BUILTIN)
    return [finding for rule in rules for finding in rule(wanted)]


def _error(code: str, where: str, message: str, mend: str) -> Finding:
    return Finding(code, "error", f"$.{where}", message, mend)


def _only_module(wanted: Input) -> Iterator[Finding]:
    if wanted.provider != "module":
        yield _error(
            "MBK0101",
            "provider",
            f"{wanted.provider} is rendered for Istio only: elsewhere it needs a contrib build",
            "use provider: module, or target: istio",
        )


def _metrics(wanted: Input) -> Iterator[Finding]:
    if wanted.metrics and (reason := _no_bootstrap(wanted)):
        yield _error(
            "MBK0115",
            "metrics",
            f"metrics cannot be added: {reason}",
            "leave metrics out, or add the extension as docs/observability.md shows",
        )


def _no_bootstrap(wanted: Input) -> str | None:
    """Tell why the bootstrap cannot be reached; None when it can."""
    scope = wanted.scope
    if wanted.provider != "module":
        return f"{wanted.provider} is no dynamic module"
    if wanted.target == "envoy-gateway":
        return "Envoy Gateway's bootstrap is not rendered here"
    if wanted.target == "envoy":
        is_whole = wanted.envoy.form == "bootstrap"
        return None if is_whole else "a transport socket has no bootstrap"
    if scope.kind == "mesh":
        return "the override's ConfigMap must be in each pod's namespace"
    if scope.kind == "gateway" and scope.gateway.kind == "gateway-api":
        return "gateways that Istio deploys for the Gateway API take no bootstrap override"
    return None


def _gateway_scope(wanted: Input) -> Iterator[Finding]:
    if wanted.scope.kind != "gateway":
        yield _error(
            "MBK0102",
            "scope.kind",
            f"Envoy Gateway has gateways only, not the scope {wanted.scope.kind}",
            "use scope.kind: gateway",
        )


def _version(wanted: Input) -> Iterator[Finding]:
    if release_of(wanted.istio.version) is None:
        known = ", ".join(RELEASES)
        yield _error(
            "MBK0103",
            "istio.version",
            f"Istio {wanted.istio.version} is not known (known: {known})",
            "give the version of the proxies, such as '1.31' or '1.31.2'",
        )


def _module_proxy(wanted: Input) -> Iterator[Finding]:
    release = release_of(wanted.istio.version)
    if wanted.provider != "module" or release is None or release.handshaker:
        return
    if wanted.istio.proxy_image is None:
        yield _error(
            "MBK0104",
            "istio.proxy_image",
            f"the proxy image of Istio {release.minor} (Envoy {release.envoy}) does not contain "
            "the extension envoy.tls.handshakers.dynamic_modules: it would reject the listener",
            "give an image that contains it (istio.proxy_image), or use provider: cryptomb",
        )


def _module_scope(wanted: Input) -> Iterator[Finding]:
    scope = wanted.scope
    if scope.kind == "workload" and not scope.labels and wanted.provider == "module":
        yield _error(
            "MBK0105",
            "scope.labels",
            "a workload is selected by its pods' labels, and none are given: all of the "
            "namespace would be patched",
            "give scope.labels, or use scope.kind: namespace",
        )
    if scope.outbound and scope.kind == "gateway":
        yield _error(
            "MBK0106",
            "scope.outbound",
            "the client side is rendered for sidecars only",
            "use scope.kind workload, namespace or mesh",
        )


def _gateway_ports(wanted: Input) -> Iterator[Finding]:
    if wanted.provider != "module" or wanted.scope.kind != "gateway":
        return
    release = release_of(wanted.istio.version)
    for number, port in enumerate(wanted.scope.gateway.ports):
        where = f"scope.gateway.ports[{number}]"
        if port.protocol not in TERMINATING:
            yield _error(
                "MBK0107",
                f"{where}.protocol",
                f"port {port.port} is {port.protocol}: the patch would turn its plaintext chain "
                "into TLS without a certificate",
                "list only ports whose TLS the gateway terminates",
            )
        narrow = release is not None and release.matches_transport_socket
        if port.passthrough and not port.hosts and not narrow:
            yield _error(
                "MBK0108",
                f"{where}.hosts",
                f"port {port.port} also passes TLS through, and before Istio 1.32 only the names "
                "tell such chains apart: they would become broken TLS",
                "list the hosts that the gateway terminates",
            )


def _poll_delay(wanted: Input) -> Iterator[Finding]:
    found = _MILLISECONDS.match(wanted.builtin.poll_delay)
    milliseconds = float(found[1]) * (1000 if found[2] == "s" else 1) if found else 0.0
    if wanted.provider != "module" and not 1 <= milliseconds <= _MAX_MS:
        yield _error(
            "MBK0110",
            "builtin.poll_delay",
            f"{wanted.builtin.poll_delay}: Istio passes on only the part below one second, and "
            "Envoy refuses less than 1ms",
            "use 1ms to 999ms",
        )


def _fallback(wanted: Input) -> Iterator[Finding]:
    if wanted.provider != "module" and wanted.builtin.fallback and wanted.keys.source == "sds":
        yield _error(
            "MBK0111",
            "builtin.fallback",
            "does not work with keys that come by SDS: Istio leaves out the private key that "
            "Envoy would fall back to, and Envoy rejects the secret",
            "leave fallback out, and select nodes whose CPU has AVX-512 IFMA",
        )


def _qat_version(wanted: Input) -> Iterator[Finding]:
    if wanted.provider == "qat" and lacks_qat(wanted.istio.version):
        yield _error(
            "MBK0112",
            "provider",
            f"the proxy of Istio {wanted.istio.version} lacks qat (1.29.0 to 1.30.0): it would "
            "reject every secret",
            "use 1.30.1 or newer and give the full version, or provider: cryptomb",
        )


def _key_type(wanted: Input) -> Iterator[Finding]:
    rsa = wanted.keys.algorithm.startswith("rsa")
    allowed = rsa or (wanted.provider == "cryptomb" and wanted.keys.algorithm == "p256")
    if wanted.provider != "module" and not allowed:
        yield _error(
            "MBK0113",
            "keys.algorithm",
            f"{wanted.provider} does not handle {wanted.keys.algorithm} keys: Envoy rejects "
            "the secret",
            "use RSA keys (cryptomb: or P-256), or provider: module",
        )


def _builtin_scope(wanted: Input) -> Iterator[Finding]:
    if wanted.provider != "module" and wanted.scope.kind == "namespace":
        yield _error(
            "MBK0114",
            "scope.kind",
            f"{wanted.provider} cannot be set for a namespace: the ProxyConfig resource has no "
            "privateKeyProvider",
            "use scope.kind mesh, or workload for each Deployment",
        )


_BUILTIN: tuple[Rule, ...] = (_poll_delay, _fallback, _qat_version, _key_type, _builtin_scope)
