"""Prints how long `istio_kit render` takes from a cold start; exit status 1 over the budget."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 11
BUDGET_MS = 300


def main() -> int:
    """Time whole processes; the first run is left out, because it compiles the bytecode."""
    command = [str(Path(sys.executable).parent / "istio_kit"), "render"]
    command += ["--set", "istio.proxy_image=registry.example/proxyv2:1"]
    # The bytecode is kept in any installation; this shell may have turned that off.
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=kept)
        taken.append((time.perf_counter() - start) * 1000)
    del taken[0]
    median = statistics.median(taken)
    print(  # noqa: T201 - its output
        f"render: median {median:.0f} ms of {RUNS} runs, {min(taken):.0f} to {max(taken):.0f}; "
        f"budget {BUDGET_MS} ms"
    )
    return int(median > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
