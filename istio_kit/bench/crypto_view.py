"""Shows the results of `bench crypto`: a table in the terminal, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from istio_kit.bench.crypto import LANES, Speed
from istio_kit.bench.plots import save_panels
from istio_kit.bench.table import WIDTH

_SUBJECTS = {
    "openssl": ("OpenSSL", "#7a7a7a"),
    "crypto_mb": ("crypto_mb alone", "#d98324"),
    "engine": ("module's engine", "#0b6e99"),
}


def show(speeds: Sequence[Speed], data: dict[str, Any]) -> None:
    """Print the table on stdout."""
    plan = data["plan"]
    table = Table(
        title="private-key operations per second of CPU time",
        caption=f"median of {plan['repetitions']} repetitions of {plan['seconds']:g} s "
        "[95 % confidence interval]",
    )
    for heading in ("key", "together", *(name for name, _ in _SUBJECTS.values())):
        table.add_column(heading, justify="right", no_wrap=True)
    for algorithm in plan["algorithms"]:
        for fill in range(1, LANES + 1):
            cells = [_cell(speeds, algorithm, subject, fill) for subject in _SUBJECTS]
            table.add_row(
                algorithm if fill == 1 else "", str(fill), *cells, end_section=fill == LANES
            )
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(table)
    console.print(Text(f"CPU: {data['host']['cpu_model']}, number {plan['cpu']}"))
    even = ", ".join(f"{name} {lanes}" for name, lanes in data["break_even"].items())
    console.print(Text(f"Batches pay from this many operations on: {even}"))
    for note in data["notes"]:
        console.print(Text(f"Note: {note}"))


def _cell(speeds: Sequence[Speed], algorithm: str, subject: str, fill: int) -> str:
    for speed in speeds:
        if (speed.algorithm, speed.subject, speed.fill) == (algorithm, subject, fill):
            value = speed.per_second
            return f"{value.median:.0f} [{value.low:.0f}, {value.high:.0f}]"
    return ""


def draw(speeds: Sequence[Speed], folder: Path) -> Path:
    """Write the plot, a panel per algorithm; return its path."""
    algorithms = list(dict.fromkeys(speed.algorithm for speed in speeds))
    with save_panels(folder / "operations.png", 1, len(algorithms), width=4.2) as panels:
        for axes, algorithm in zip(panels[0], algorithms, strict=True):
            for subject, (name, colour) in _SUBJECTS.items():
                found = [
                    one for one in speeds if (one.algorithm, one.subject) == (algorithm, subject)
                ]
                if subject == "openssl":
                    for one in found:
                        axes.axhline(one.per_second.median, color=colour, label=name)
                    continue
                axes.errorbar(
                    [one.fill for one in found],
                    [one.per_second.median for one in found],
                    yerr=[
                        [one.per_second.median - one.per_second.low for one in found],
                        [one.per_second.high - one.per_second.median for one in found],
                    ],
                    color=colour,
                    marker="o",
                    markersize=4,
                    capsize=3,
                    label=name,
                )
            axes.set_title(algorithm)
            axes.set_xlabel("operations given together")
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        panels[0][0].set_ylabel("operations per second of CPU time")
        panels[0][0].legend()
    return folder / "operations.png"
