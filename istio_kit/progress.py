"""Long work: how it shows its progress, and how it ends when it is told to."""

from __future__ import annotations

import signal
import sys
from types import TracebackType
from typing import NoReturn, Self

from rich import progress as rich_progress
from rich.console import Console


def end_in_order() -> None:
    """Let SIGTERM end us by an exception: processes are stopped and temporary files removed."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


class ProgressDisplay:
    """A progress bar on stderr; plain lines where stderr is no terminal."""

    def __init__(self) -> None:
        """Prepare; nothing shows before `with`."""
        self._console = Console(stderr=True, highlight=False)
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._begun = 0
        self._steps = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def expect(self, steps: int) -> None:
        """Tell how many steps there will be."""
        self._steps = steps
        self._bar.update(self._task, total=steps)

    def step(self, text: str) -> None:
        """Tell that a step begins."""
        self._bar.update(self._task, completed=self._begun, description=text)
        self._begun += 1
        if self._bar.disable:
            self._console.print(f"[{self._begun}/{self._steps}] {text}", markup=False)
