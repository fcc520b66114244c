"""Chooses what is rendered."""

from __future__ import annotations

from istio_kit.errors import InputError
from istio_kit.model.types import Input
from istio_kit.render.builtin import builtin
from istio_kit.render.delivery import module_delivery
from istio_kit.render.document import Document
from istio_kit.render.envoy_gateway import envoy_gateway
from istio_kit.render.envoyfilter import envoy_filter
from istio_kit.render.metrics import override
from istio_kit.render.plain import plain_envoy
from istio_kit.render.refuse import refusals


def render(wanted: Input) -> list[Document]:
    """Return the documents, sorted by file.

    Raises:
        InputError: it could not work; the message has every reason and way out.
    """
    if findings := refusals(wanted):
        raise InputError("this cannot be rendered:\n" + "\n".join(map(str, findings)))
    return sorted(_documents(wanted), key=lambda document: document.file)


def _documents(wanted: Input) -> list[Document]:
    if wanted.target == "envoy":
        return plain_envoy(wanted)
    if wanted.target == "envoy-gateway":
        return envoy_gateway(wanted)
    if wanted.provider == "module":
        return [envoy_filter(wanted), *module_delivery(wanted), *override(wanted)]
    return builtin(wanted)
