"""`istio_kit demo`: the same load against a stock Envoy and against one with the module."""

from __future__ import annotations
