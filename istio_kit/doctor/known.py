"""The Envoy releases and memory layouts that the module knows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from envoy_ext import table
from istio_kit.doctor.result import Check, ok, warn

EXTENSION = "envoy.tls.handshakers.dynamic_modules"
NO_EXTENSION_REMEDY = (
    "use Envoy 1.40 or newer, or a proxy image built with that extension "
    "(Istio's own image had it left out so far: set sidecar.istio.io/proxyImage)"
)


@cache
def tables() -> Sequence[table.Table]:
    """Return the tables that come with the kit."""
    return [table.load(path) for path in table.table_paths()]


def layout_check(build_id: str) -> Check:
    """Check whether the memory layout of this binary is one that the module was taught."""
    name = "memory layout"
    for one in tables():
        layout = one.layout_of(build_id)
        if layout:
            release = next((r.version for r in one.releases if r.build_id == build_id), one.envoy)
            detail = f"build-id {build_id[:12]}…: {layout.name}, read in Envoy {release}"
            return ok(name, detail)
    remedy = (
        "have it checked: python -m envoy_ext layout probe --envoy PATH "
        "(at run time the module tries the known layouts and stands aside when none fits)"
    )
    return warn(name, f"build-id {build_id[:12]}… is in no table", remedy)
