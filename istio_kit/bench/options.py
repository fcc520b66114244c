"""What the options of the `bench` commands have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from istio_kit.errors import KitError


class Numbers(click.ParamType[tuple[int, ...]]):
    """A list of whole numbers from 1 on, such as `1,16,64`."""

    name = "list"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(",") if part)
        except ValueError:
            numbers = ()
        if not numbers or min(numbers) < 1:
            self.fail(f"{value!r} is not a list of numbers from 1 on, such as 1,16,64", param, ctx)
        return tuple(dict.fromkeys(numbers))


class Cpus(click.ParamType[tuple[int, ...]]):
    """A list of CPUs that this process may use, such as `0,2-3`."""

    name = "cpus"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the CPUs."""
        from istio_kit.lab import host

        if isinstance(value, tuple):
            return value
        try:
            chosen = host.parse_cpus(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        usable = host.usable_cpus()
        for cpu in chosen:
            if cpu not in usable:
                numbers = ", ".join(map(str, usable))
                self.fail(
                    f"{cpu} is not a CPU that may be used here; these are: {numbers}", param, ctx
                )
        return chosen


@contextmanager
def files_explained() -> Iterator[None]:
    """Turn a failing file system (full disk, no permission) into one clear message."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or os.strerror(error.errno or 0)
        raise KitError(
            f"{where}{reason}; free some space or choose other folders with --output-dir and TMPDIR"
        ) from error
