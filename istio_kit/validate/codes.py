"""The findings of `validate`: stable code, severity, title and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from istio_kit.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code stands for."""

    severity: Severity
    title: str
    mend: str


RULES: Mapping[str, Rule] = {
    "MBK0201": Rule(
        "error",
        "The object does not fit the schema of its kind",
        "mend or remove the field: an API server rejects or silently drops it",
    ),
    "MBK0202": Rule(
        "warning",
        "The document is of a kind that is not known here, and was not checked",
        "check it by other means, or leave it out",
    ),
    "MBK0203": Rule(
        "error",
        "An Envoy message has an unknown field or a value of a wrong type",
        "mend the field: istiod drops it silently, Envoy rejects the configuration",
    ),
    "MBK0204": Rule(
        "error",
        "The inside of a TypedStruct does not fit its type: Istio never looks, Envoy rejects it",
        "mend the field: Envoy's reference documents the type",
    ),
    "MBK0205": Rule(
        "error",
        "The module's configuration is not acceptable: it would stand aside",
        "see docs/configuration.md for the fields",
    ),
    "MBK0206": Rule(
        "error",
        "istiod does not know the handshaker's type and rejects or drops the patch",
        "wrap it in xds.type.v3.TypedStruct (istio_kit render does)",
    ),
    "MBK0207": Rule(
        "error",
        "A whole TLS context in a TypedStruct: istiod's merge fails and drops other patches too",
        "use the TLS context itself as @type, and a TypedStruct only for the handshaker",
    ),
    "MBK0208": Rule(
        "error",
        "applyTo BOOTSTRAP has had no effect since Istio 1.21",
        "use the annotation sidecar.istio.io/bootstrapOverride",
    ),
    "MBK0209": Rule(
        "error",
        "A transport socket is merged into chains that may be plaintext: they become broken TLS",
        "match the port, the listener's name or the filter chain",
    ),
    "MBK0210": Rule(
        "error",
        "A transport socket is merged into every cluster: plaintext clusters turn to TLS",
        "match cluster.service (or name) and cluster.portNumber",
    ),
    "MBK0211": Rule(
        "error",
        "The TLS context is of the wrong side",
        "use DownstreamTlsContext for filter chains, UpstreamTlsContext for clusters",
    ),
    "MBK0212": Rule(
        "error",
        "The transport socket has another name than the chain's own: MERGE overwrites it",
        "name it envoy.transport_sockets.tls",
    ),
    "MBK0213": Rule(
        "error",
        "MERGE appends to lists: it does not replace the certificates or protocols",
        "leave the list out of the patch",
    ),
    "MBK0214": Rule(
        "error",
        "filterChain.transportSocket can be matched from Istio 1.32 on only",
        "match transportProtocol, applicationProtocols or sni for older proxies",
    ),
    "MBK0215": Rule(
        "error",
        "pollDelay is outside of 1ms to 999ms: Istio passes on only the part below one second",
        "use 1ms to 999ms",
    ),
    "MBK0216": Rule(
        "warning",
        "fallback does not work with keys that come by SDS: Envoy then rejects the secret",
        "leave fallback out, and select nodes whose CPU has AVX-512 IFMA; keys of files are fine",
    ),
    "MBK0217": Rule(
        "error",
        "The proxies of Istio 1.29.0 to 1.30.0 lack the qat extension and reject every secret",
        "use 1.30.1 or newer, or cryptomb",
    ),
    "MBK0218": Rule(
        "error",
        "The ProxyConfig resource cannot carry this field",
        "set it in meshConfig.defaultConfig or the annotation proxy.istio.io/config",
    ),
    "MBK0219": Rule(
        "error",
        "The annotation's value does not have the form that Istio reads",
        "write YAML for proxy.istio.io/config, a JSON object keyed by name for userVolume",
    ),
    "MBK0220": Rule(
        "error",
        "Envoy rejects the configuration",
        "mend what Envoy names",
    ),
    "MBK0221": Rule(
        "error",
        "Envoy accepts the configuration, but a TLS handshake with it fails",
        "read Envoy's lines; istio_kit doctor checks module and binary",
    ),
    "MBK0222": Rule(
        "warning",
        "TLS is served, but the module did not sign",
        "read Envoy's lines; istio_kit doctor checks module and host",
    ),
    "MBK0223": Rule(
        "warning",
        "A port number also matches the QUIC listener of that port, whose socket would be lost",
        "if HTTP/3 is on match listener.name 0.0.0.0_PORT; from 1.32 filterChain.transportSocket",
    ),
    "MBK0224": Rule(
        "error",
        "workloadSelector and targetRefs exclude each other",
        "keep one: targetRefs for gateways of the Gateway API and waypoints, else the selector",
    ),
    "MBK0225": Rule(
        "error",
        "The context WAYPOINT has no effect: Istio does not implement it",
        "use SIDECAR_INBOUND with targetRefs: a waypoint's listeners are patched under that name",
    ),
}


def finding(code: str, where: str, detail: str = "") -> Finding:
    """Return a finding; ``detail`` says what was found there."""
    rule = RULES[code]
    message = f"{rule.title}: {detail}" if detail else rule.title
    return Finding(code, rule.severity, where, message, rule.mend)


def markdown() -> str:
    """Return the table of the documentation."""
    head = "| code | severity | what | how to mend |\n|---|---|---|---|\n"
    rows = (
        f"| {code} | {rule.severity} | {rule.title} | {rule.mend} |\n"
        for code, rule in RULES.items()
    )
    return head + "".join(rows)
