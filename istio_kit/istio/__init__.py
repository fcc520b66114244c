"""What Istio's releases can do; facts only, used by render, explain and validate."""

from __future__ import annotations
