"""``istio_kit bench crypto``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from istio_kit.bench.options import files_explained
from istio_kit.errors import EXIT_CODES_HELP

_ALGORITHMS = ("rsa2048", "rsa3072", "rsa4096", "p256", "p384")


@click.command("crypto", epilog=EXIT_CODES_HELP)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path("bench-crypto"),
    show_default=True,
    help="New folder for results, plot and report.",
)
@click.option("--quick", is_flag=True, help="Measurements of 0.02 s; ends within 60 s.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the results on stdout.",
)
@click.option(
    "--algorithm",
    "algorithms",
    type=click.Choice(_ALGORITHMS),
    multiple=True,
    help="Repeatable. [default: all]",
)
@click.option("--repetitions", type=click.IntRange(min=5), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.01),
    default=0.3,
    show_default=True,
    help="Length of one measurement.",
)
@click.option("--cpu", type=int, help="CPU to measure on. [default: the last usable one]")
def crypto_command(
    output_dir: Path,
    quick: bool,  # noqa: FBT001 - click gives it by keyword
    output: Literal["text", "json"],
    algorithms: tuple[str, ...],
    repetitions: int,
    seconds: float,
    cpu: int | None,
) -> None:
    """Measure private-key operations of one CPU: OpenSSL, crypto_mb, and the module's engine.

    crypto_mb is measured alone; OpenSSL and the engine hash, pad and encode as TLS 1.3 does, and
    the engine also verifies each signature. Needs a C compiler and OpenSSL's headers.
    """
    import json

    from istio_kit.bench import crypto, crypto_view, report
    from istio_kit.lab import host
    from istio_kit.progress import ProgressDisplay, end_in_order

    usable = host.usable_cpus()
    if cpu is not None and cpu not in usable:
        numbers = ", ".join(map(str, usable))
        raise click.BadParameter(
            f"{cpu} is not a CPU that may be used here; these are: {numbers}", param_hint="'--cpu'"
        )
    plan = crypto.CryptoPlan(
        algorithms=algorithms or _ALGORITHMS,
        repetitions=repetitions,
        seconds=0.02 if quick else seconds,
        cpu=usable[-1] if cpu is None else cpu,
    )
    end_in_order()
    with files_explained():
        crypto.new_folder(output_dir)
        try:
            with ProgressDisplay() as progress:
                progress.expect(plan.repetitions * len(plan.algorithms))
                data = crypto.run(plan, progress.step)
            crypto.write(output_dir, data)
        finally:
            if not any(output_dir.iterdir()):
                output_dir.rmdir()
        speeds = crypto.summarise([crypto.Rate(**sample) for sample in data["samples"]])
        page = report.render("bench_crypto.html.j2", data, [crypto_view.draw(speeds, output_dir)])
        (output_dir / "report.html").write_text(page)
    if output == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        crypto_view.show(speeds, data)
    click.echo(f"report: {output_dir / 'report.html'}", err=True)
