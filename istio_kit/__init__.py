"""istio_kit: the command line and the libraries around the multibuffer module for Envoy."""

from __future__ import annotations

__version__ = "0.1.0"
