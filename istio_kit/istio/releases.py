"""Istio's releases, as far as private-key providers and handshakers are concerned.

Read in Istio's and istio-proxy's sources (release branches and master, November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class IstioRelease:
    """One minor release.

    ``handshaker`` tells whether the stock istio-proxy image contains
    ``envoy.tls.handshakers.dynamic_modules``; its list of extensions is kept by hand, so a newer
    Envoy inside does not mean that it does. ``matches_transport_socket`` tells whether an
    EnvoyFilter can match filter chains by ``transportSocket``.
    """

    minor: str
    envoy: str
    providers: tuple[str, ...] = ("cryptomb", "qat")
    dynamic_modules: bool = False
    handshaker: bool = False
    matches_transport_socket: bool = False
    note: str = ""


RELEASES: Mapping[str, IstioRelease] = {
    release.minor: release
    for release in (
        IstioRelease("1.26", "1.34"),
        IstioRelease("1.27", "1.35"),
        IstioRelease("1.28", "1.36"),
        IstioRelease("1.29", "1.37", ("cryptomb",), note="qat was taken out"),
        IstioRelease("1.30", "1.38", note="qat is back from 1.30.1"),
        IstioRelease("1.31", "1.39", dynamic_modules=True),
        IstioRelease(
            "1.32",
            "1.40",
            dynamic_modules=True,
            matches_transport_socket=True,
            note="as of its development branch",
        ),
    )
}

#: First and first good version of the releases whose proxy lacks the qat extension.
QAT_MISSING: tuple[Version, Version] = ((1, 29, 0), (1, 30, 1))

_TEXT = re.compile(r"^(1)\.(\d{1,3})(?:\.(\d{1,3}))?$")


def parse(text: str) -> Version | None:
    """Return a version such as ``1.31`` (patch -1) or ``1.31.2``; None for other text."""
    found = _TEXT.match(text)
    if not found:
        return None
    return int(found[1]), int(found[2]), int(found[3]) if found[3] else -1


def release_of(text: str) -> IstioRelease | None:
    """Return the minor release that a version belongs to, None when it is not known."""
    version = parse(text)
    return RELEASES.get(f"{version[0]}.{version[1]}") if version else None


def lacks_qat(text: str) -> bool:
    """Whether that version's proxy has no qat extension; a minor counts if one of its versions."""
    version = parse(text)
    if version is None:
        return False
    first, good = QAT_MISSING
    return first <= (version[0], version[1], max(version[2], 0)) < good


def version_guard(release: IstioRelease) -> str:
    """Return the regular expression (RE2) for ``match.proxy.proxyVersion``.

    Builds before a release are called ``1.32-alpha.…``, so that no dot follows the minor.
    """
    return rf"^{re.escape(release.minor)}[.-].*"
