"""From an input to the objects that turn the provider on, and the reason for each."""

from __future__ import annotations
