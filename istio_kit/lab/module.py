"""The module's settings for one Envoy, and its counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy_ext import artifacts, stats
from envoy_ext.cpu import ifma_reason
from istio_kit.lab.config import Module


@dataclass(frozen=True, slots=True)
class ModuleSetup:
    """One Envoy's module: all of its TLS contexts share library and counter file."""

    stats_file: Path
    library: Path | None = field(default_factory=artifacts.crypto_mb_path)

    def settings(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the module's settings; where the CPU cannot batch, the policy is `off`."""
        settings: dict[str, Any] = {
            "stats_file": str(self.stats_file),
            "algorithms": list(stats.ALGORITHMS),
        }
        if self.library:
            settings["library"] = str(self.library)
        if ifma_reason():
            settings["policy"] = "off"
        return {**settings, **more}

    def module(self, **more: Any) -> Module:  # noqa: ANN401 - JSON
        """Return the module as handshaker."""
        return Module(self.settings(**more))

    def read(self) -> stats.ModuleStats:
        """Return the counters; all are 0 while the module stands aside and keeps none."""
        if not self.stats_file.exists():
            return stats.ModuleStats()
        return stats.read(self.stats_file)
