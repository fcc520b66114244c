"""Shows the results to people, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from istio_kit.bench.figures import Result
from istio_kit.bench.plan import VARIANTS

_COLUMNS = (
    ("TLS ms p50", "tls_p50_ms"),
    ("p99", "tls_p99_ms"),
    ("p99.9", "tls_p999_ms"),
    ("request ms p50", "request_p50_ms"),
    ("p99", "request_p99_ms"),
    ("CPU µs", "envoy_cpu_us_per_handshake"),
)
# Where the output is no terminal, nothing says how wide it may be.
WIDTH = 140


def show(results: Sequence[Result], data: dict[str, Any]) -> None:
    """Print the table, and below it what has to be known beside it, on stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(_table(results, data))
    for line in _lines(data):
        console.print(Text(line), soft_wrap=True)


def _table(results: Sequence[Result], data: dict[str, Any]) -> Table:
    plan = data["plan"]
    table = Table(
        title=f"TLS {plan['tls']}, a new connection per request",
        caption=f"median of {plan['repetitions']} repetitions of {plan['seconds']:g} s "
        "[95 % confidence interval]; CPU is Envoy's, per handshake. All intervals: report.html",
    )
    for heading in ("load", "variant"):
        table.add_column(heading, no_wrap=True)
    for heading in ("handshakes/s", "× stock", *(heading for heading, _ in _COLUMNS)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("batched", justify="right", no_wrap=True)
    for result in results:
        present = [name for name in VARIANTS if name in result.figures]
        for variant in present:
            figures = result.figures[variant]
            ratio = result.ratios.get(variant, {}).get("handshakes_per_second")
            batched = result.batched.get(variant)
            table.add_row(
                str(result.case) if variant == present[0] else "",
                variant,
                str(figures["handshakes_per_second"]),
                f"{ratio.median:.2f}" if ratio else "",
                *(f"{figures[metric].median:.3g}" for _, metric in _COLUMNS),
                f"{100 * batched:.0f} %" if batched is not None else "",
                end_section=variant == present[-1],
            )
    return table


def _lines(data: dict[str, Any]) -> list[str]:
    plan, facts = data["plan"], data["host"]
    cpus = [",".join(map(str, plan[name])) or "any" for name in ("gateway_cpus", "client_cpus")]
    where = "a network namespace each" if plan["isolated"] else "loopback"
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    host = f"CPU: {facts['cpu_model']}; governor {facts['governor']}"
    lines = [f"{host}; Envoy on {cpus[0]}, client on {cpus[1]}; {where}", f"Versions: {versions}"]
    if not data["can_batch"]:
        lines.append(f"The module cannot batch on this CPU: {data['cannot_batch_reason']}.")
    return lines + [f"Note: {note}" for note in data["notes"]]
