"""The ``custom_handshaker`` that names the module, for Envoy itself and for control planes."""

from __future__ import annotations

from typing import Any

from istio_kit import messages

Json = dict[str, Any]

MODULE = "multibuffer"
SEARCH_PATH = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH"


def _value(settings: Json) -> Json:
    return {
        "dynamic_module_config": {"name": MODULE},
        "handshaker_name": MODULE,
        "handshaker_config": {
            "@type": messages.type_url("google.protobuf.Struct"),
            "value": settings,
        },
    }


def direct(settings: Json) -> Json:
    """Return the extension as Envoy's own configuration has it."""
    return {
        "name": messages.HANDSHAKER_NAME,
        "typed_config": {"@type": messages.type_url(messages.HANDSHAKER), **_value(settings)},
    }


def through_control_plane(settings: Json) -> Json:
    """Return the extension as a TypedStruct.

    istiod and Envoy Gateway do not know the handshaker's type and refuse it; a TypedStruct they
    pass on, and Envoy unwraps it. They do not look inside either, so it is checked here.
    """
    messages.checked(messages.HANDSHAKER, _value(settings))
    return {
        "name": messages.HANDSHAKER_NAME,
        "typed_config": {
            "@type": messages.type_url(messages.TYPED_STRUCT),
            "type_url": messages.type_url(messages.HANDSHAKER),
            "value": _value(settings),
        },
    }
