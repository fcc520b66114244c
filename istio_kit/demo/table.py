"""Shows the demo's report and its progress to people."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from istio_kit.demo.data import Case, Report, Spread

_ROWS = (
    ("handshakes/s", "handshakes_per_second", 0),
    ("TLS handshake p50, ms", "tls_p50_ms", 2),
    ("TLS handshake p99, ms", "tls_p99_ms", 2),
    ("whole request p50, ms", "request_p50_ms", 2),
    ("whole request p99, ms", "request_p99_ms", 2),
    ("Envoy CPU, µs/handshake", "envoy_cpu_us_per_handshake", 0),
)


def show(report: Report) -> None:
    """Print the report on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(render(report))


def render(report: Report) -> RenderableType:
    """Return the table and the lines below it."""
    settings = report.settings
    table = Table(
        title=f"{settings['key']}, TLS {settings['tls']}, a new connection per request",
        caption=f"median of rounds (± half the range); rounds: {settings['rounds']}, "
        f"{settings['seconds']:g} s each",
    )
    table.add_column(no_wrap=True)
    for heading in ("stock Envoy", "with module", "module/stock"):
        table.add_column(heading, justify="right", no_wrap=True)
    for case in report.cases:
        _add_case(table, case)
    lines = [
        "CPU: {model}; Envoy on CPU {gateway}, k6 on CPU {client}".format(**report.cpu),
        "Versions: " + ", ".join(f"{name} {number}" for name, number in report.versions.items()),
    ]
    lines += _module_lines(report)
    lines += [f"Note: {note}" for note in report.notes]
    return Group(table, *(Text(line) for line in lines))


def _add_case(table: Table, case: Case) -> None:
    plural = "" if case.connections == 1 else "s"
    table.add_row(Text(f"{case.connections} connection{plural}", style="bold"))
    for label, metric, digits in _ROWS:
        table.add_row(
            label,
            _cell(case.figures["stock"][metric], digits),
            _cell(case.figures["module"][metric], digits),
            _cell(case.ratios.get(metric), 2),
        )
    table.add_row("signed in batches", "", str(case.operations.get("batched", 0)), "")
    table.add_row("signed alone", "", str(case.operations.get("single", 0)), "")
    table.add_row("batches of 1…4, %", "", _fill(case.fill, case.fill[:4]), "")
    table.add_row("batches of 5…8, %", "", _fill(case.fill, case.fill[4:]), "", end_section=True)


def _cell(value: Spread | None, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value.median:.{digits}f} ±{(value.high - value.low) / 2:.{digits}f}"


def _fill(all_counts: list[int], counts: list[int]) -> str:
    batches = sum(all_counts)
    if not batches:
        return "no batches"
    return "  ".join(f"{100 * count / batches:.0f}" for count in counts)


def _module_lines(report: Report) -> list[str]:
    keys = "Module: keys taken {hooked}, left to Envoy {left}".format(**report.keys)
    if report.batching and not report.problems:
        return [keys]
    lines = [keys, "The module says:", *(f"  {line}" for line in report.module_log)]
    if report.batching:
        return lines
    return [
        f"The module stood aside on this CPU: {report.reason}.",
        "Envoy signed by itself and served TLS as always.",
        *lines,
    ]
