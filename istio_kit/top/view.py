"""Shows rates to people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from istio_kit.top.rates import Rates

_HEADINGS = ("operations/s", "batched", "mean fill", "CPU, cores", "left/s", "queue", "contexts")


def render(rates: Sequence[Rates]) -> Table:
    """Return the table, one row for each proxy."""
    table = Table(title="TLS signing in batches")
    table.add_column("proxy", overflow="fold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("attention")
    for one in rates:
        table.add_row(
            one.proxy,
            f"{one.operations_per_second:.0f}",
            "–" if one.batched_share is None else f"{one.batched_share:.0%}",
            "–" if one.mean_fill is None else f"{one.mean_fill:.1f}",
            f"{one.cpu_cores:.2f}",
            f"{one.left_per_second:.0f}",
            str(one.queue_depth),
            f"{one.contexts_hooked} hooked",
            "; ".join(attention(one)),
        )
    return table


def attention(rates: Rates) -> list[str]:
    """Return what somebody should look at."""
    found = [
        f"{count} context{'s' if count > 1 else ''} left: {reason.replace('_', ' ')}"
        for reason, count in rates.contexts_left.items()
    ]
    counts = {
        "failed": rates.failed,
        "did not verify": rates.verify_failures,
        "stalled": rates.stalled_operations,
    }
    return found + [f"{count} {text}" for text, count in counts.items() if count]
