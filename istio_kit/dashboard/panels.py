"""The dashboard's panels, and the Grafana JSON made of them.

The metrics are the module's as Prometheus gets them from Envoy (docs/observability.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

PREFIX = "envoy_multibuffer_"
_SELECTOR = '{job=~"$job", instance=~"$instance"}'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8  # Grafana's grid is 24 wide


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: PromQL expressions by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    help: str


def _rate(metric: str, by: str = "") -> str:
    total = f"sum by ({by}) " if by else "sum "
    return f"{total}(rate({PREFIX}{metric}{_SELECTOR}[$__rate_interval]))"


def _gauge(metric: str, by: str) -> str:
    return f"max by ({by}) ({PREFIX}{metric}{_SELECTOR})"


def _mean(histogram: str) -> str:
    return f"{_rate(histogram + '_sum', 'algorithm')} / {_rate(histogram + '_count', 'algorithm')}"


def _quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, {_rate(histogram + '_bucket', 'le')})"


_BATCHED = _SELECTOR.replace("}", ', outcome="batched"}')

PANELS = (
    Panel(
        "Private-key operations",
        "ops",
        {"{{algorithm}} {{outcome}}": _rate("operations", "algorithm, outcome")},
        "One for each full TLS handshake; resumed sessions need none.",
    ),
    Panel(
        "Share in batches",
        "percentunit",
        {
            "batched": f"sum (rate({PREFIX}operations{_BATCHED}[$__rate_interval]))"
            f" / {_rate('operations')}"
        },
        "Low while few connections arrive together: single operations are cheaper then.",
    ),
    Panel(
        "Mean batch fill",
        "short",
        {"{{algorithm}}": _mean("batch_fill")},
        "Lanes in use, of eight.",
    ),
    Panel(
        "Queue wait",
        "µs",
        {"p50": _quantile(0.5, "queue_wait_us"), "p99": _quantile(0.99, "queue_wait_us")},
        "From submitting an operation to its computation.",
    ),
    Panel(
        "Compute time of a batch or single operation",
        "µs",
        {"{{algorithm}} mean": _mean("compute_us")},
        "Signing and verifying the result.",
    ),
    Panel(
        "Left to Envoy",
        "cps",
        {
            "connections": _rate("connections_left"),
            "contexts: {{result}}": f"sum by (result) ({PREFIX}tls_contexts{_SELECTOR})",
        },
        "Connections that Envoy signs for itself, and TLS contexts by what became of them.",
    ),
    Panel(
        "Faults",
        "ops",
        {
            "verify failures": _rate("verify_failures"),
            "lane errors": _rate("lane_errors"),
            "lane retries": _rate("lane_retries"),
            "without locked memory": _rate("inline_operations"),
        },
        "All zero in a healthy proxy.",
    ),
    Panel(
        "Queue",
        "short",
        {
            "depth {{instance}}": _gauge("queue_depth", "instance"),
            "stalled {{instance}}": _gauge("stalled_operations", "instance"),
        },
        "Stalled: in a queue that was not computed for a second.",
    ),
    Panel(
        "Break-even",
        "short",
        {"{{algorithm}} {{instance}}": _gauge("break_even_lanes", "algorithm, instance")},
        "Lanes from which a batch is cheaper, measured on each proxy; 9: never.",
    ),
)


def dashboard() -> Json:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "multibuffer-tls",
        "title": "TLS signing in batches",
        "tags": ["envoy", "tls"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                _variable("job", f"label_values({PREFIX}queue_depth, job)"),
                _variable(
                    "instance", f'label_values({PREFIX}queue_depth{{job=~"$job"}}, instance)'
                ),
            ]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel) -> Json:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }
