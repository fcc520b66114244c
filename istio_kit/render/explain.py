"""The reasons behind a rendering, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from istio_kit.istio.releases import release_of
from istio_kit.model.types import Input
from istio_kit.render.select import render

_WIDTH = 96


def explain(wanted: Input) -> str:
    """Return what would be made for an input, and why.

    Raises:
        InputError: it could not work; the message has every reason and way out.
    """
    lines: list[str] = [*_heading(wanted), ""]
    for document in render(wanted):
        name = document.body.get("kind", document.role)
        lines.append(f"{document.file}: {name}")
        lines.append(f"  use: {document.use}")
        for reason in document.why:
            lines += textwrap.wrap(reason, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
        lines.append("")
    return "\n".join(lines)


def _heading(wanted: Input) -> Iterator[str]:
    yield f"target {wanted.target}, provider {wanted.provider}"
    if wanted.target != "istio":
        return
    release = release_of(wanted.istio.version)
    if release is None:
        return
    modules = "with dynamic modules" if release.dynamic_modules else "without dynamic modules"
    yield (
        f"Istio {release.minor}: Envoy {release.envoy} {modules}; built-in providers: "
        f"{', '.join(release.providers)}" + (f" ({release.note})" if release.note else "")
    )
    yield f"scope {wanted.scope.kind}, delivery {wanted.delivery.kind}"
