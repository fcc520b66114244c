"""What the user wants, in one typed value: read from YAML, ``--set`` and options."""

from __future__ import annotations
