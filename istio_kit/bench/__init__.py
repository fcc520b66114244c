"""`istio_kit bench`: handshakes and private-key operations, with and without the module."""

from __future__ import annotations
