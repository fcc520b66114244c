"""Why a layout could not be found or checked."""

from __future__ import annotations


class ProbeError(Exception):
    """The probe cannot go on; the text says what is missing or unclear."""


class NoExtensionPointError(ProbeError):
    """This Envoy cannot load the module at all."""
