"""One HTML file with figures, plots and how they came about; it loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from istio_kit import templates
from istio_kit.bench.figures import Result
from istio_kit.bench.plan import VARIANTS

_TITLES = {
    "throughput": "Throughput against concurrency",
    "cpu": "Envoy's CPU time",
    "latency": "Latency against offered load",
    "fill": "How full the batches were",
    "operations": "Private-key operations",
}


def render(
    template: str, data: dict[str, Any], plots: Sequence[Path], results: Sequence[Result] = ()
) -> str:
    """Return the report as HTML."""
    images = [(_TITLES[path.stem], base64.b64encode(path.read_bytes()).decode()) for path in plots]
    page = templates.html_environment().get_template(template)
    return page.render(data=data, results=results, images=images, variants=VARIANTS)
