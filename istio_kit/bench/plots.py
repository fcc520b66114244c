"""Draws the results: throughput, latency, CPU time and fill. Returns PNG files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from istio_kit.bench.figures import Result
from istio_kit.bench.plan import VARIANTS, Variant

mpl.use("Agg")

_COLOURS: dict[Variant, str] = {"stock": "#7a7a7a", "module": "#0b6e99", "single": "#d98324"}
_NAMES: dict[Variant, str] = {
    "stock": "stock Envoy",
    "module": "module, batches",
    "single": "module, one at a time",
}
_LATENCIES = (("tls_p50_ms", "-", "p50"), ("tls_p99_ms", "--", "p99"))


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write all plots that the results allow; return their paths."""
    closed = [result for result in results if result.case.rate is None]
    loaded = [result for result in results if result.case.rate is not None]
    written = []
    for name, cases, fill_axes in (
        ("throughput", closed, _throughput),
        ("cpu", closed, _cpu),
        ("latency", loaded, _latency),
        ("fill", [one for one in closed if any(one.fill.get("module", ()))], _fill),
    ):
        if cases:
            written.append(_write(folder / f"{name}.png", cases, fill_axes))
    return written


@contextmanager
def save_panels(
    path: Path, rows: int, columns: int, *, width: float = 6.2
) -> Iterator[list[list[Axes]]]:
    """Give panels to draw on, `width` inches wide; write them as PNG afterwards."""
    canvas = Canvas(figsize=(width * columns, 4.0 * rows), layout="constrained")
    yield [list(row) for row in canvas.subplots(rows, columns, squeeze=False)]
    canvas.savefig(path, dpi=110)


def _write(
    path: Path, results: Sequence[Result], draw_axes: Callable[[Axes, Sequence[Result]], None]
) -> Path:
    """Draw one panel per key and load generator."""
    keys = list(dict.fromkeys(result.case.key for result in results))
    tools = list(dict.fromkeys(result.case.tool for result in results))
    with save_panels(path, len(keys), len(tools)) as panels:
        for row, key in zip(panels, keys, strict=True):
            for axes, tool in zip(row, tools, strict=True):
                chosen = [one for one in results if (one.case.key, one.case.tool) == (key, tool)]
                axes.set_title(f"{key}, {tool}")
                axes.grid(alpha=0.3)
                draw_axes(axes, chosen)
    return path


def _curve(
    axes: Axes, results: Sequence[Result], variant: Variant, metric: str, style: str, label: str
) -> None:
    """Draw a figure with its confidence interval against what was asked."""
    x = [one.case.connections if one.case.rate is None else one.case.rate for one in results]
    figures = [one.figures[variant][metric] for one in results]
    y = [one.median for one in figures]
    below = [one.median - one.low for one in figures]
    above = [one.high - one.median for one in figures]
    axes.errorbar(
        x,
        y,
        yerr=[below, above],
        color=_COLOURS[variant],
        linestyle=style,
        marker="o",
        markersize=4,
        capsize=3,
        label=label,
    )


def _over_connections(axes: Axes, results: Sequence[Result], metric: str, text: str) -> None:
    results = sorted(results, key=lambda one: one.case.connections)
    for variant in _variants(results):
        _curve(axes, results, variant, metric, "-", _NAMES[variant])
    numbers = [one.case.connections for one in results]
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.set_xlabel("clients at a time (closed loop)")
    axes.set_ylabel(text)
    axes.set_ylim(bottom=0)
    axes.legend()


def _throughput(axes: Axes, results: Sequence[Result]) -> None:
    _over_connections(axes, results, "handshakes_per_second", "handshakes per second")


def _cpu(axes: Axes, results: Sequence[Result]) -> None:
    _over_connections(axes, results, "envoy_cpu_us_per_handshake", "Envoy CPU, µs per handshake")


def _latency(axes: Axes, results: Sequence[Result]) -> None:
    results = sorted(results, key=lambda one: one.case.rate or 0)
    for variant in _variants(results):
        for metric, style, percentile in _LATENCIES:
            _curve(axes, results, variant, metric, style, f"{_NAMES[variant]}, {percentile}")
    axes.set_yscale("log")
    axes.set_xlabel("requests offered per second (open loop)")
    axes.set_ylabel("TLS handshake, ms")
    axes.legend(fontsize="small")


def _fill(axes: Axes, results: Sequence[Result]) -> None:
    results = sorted(results, key=lambda one: one.case.connections)
    width = 0.8 / len(results)
    for number, result in enumerate(results):
        counts = result.fill["module"]
        total = sum(counts) or 1
        x = [lane + (number - (len(results) - 1) / 2) * width for lane in range(1, 9)]
        axes.bar(
            x,
            [100 * count / total for count in counts],
            width,
            label=f"{result.case.connections} clients",
        )
    axes.set_xticks(range(1, 9))
    axes.set_xlabel("operations in a batch")
    axes.set_ylabel("share of the batches, %")
    axes.legend()


def _variants(results: Sequence[Result]) -> list[Variant]:
    return [name for name in VARIANTS if all(name in one.figures for one in results)]
