"""istio_kit: the command line and the libraries around the multibuffer module for Envoy."""

from __future__ import annotations

from envoy_ext import __version__

__all__ = ["__version__"]
