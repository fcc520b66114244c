"""What one check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["OK", "WARN", "FAIL"]
STATUSES: tuple[Status, ...] = ("OK", "WARN", "FAIL")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report; ``remedy`` is empty only where nothing is to be done.

    WARN: the proxy works as stock, or only a part of the keys is accelerated. FAIL: the module
    cannot sign, or a proxy would not serve.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the fields by name, for JSON."""
        return asdict(self)


def ok(name: str, detail: str) -> Check:
    """Return a check that passed."""
    return Check(name, "OK", detail)


def warn(name: str, detail: str, remedy: str) -> Check:
    """Return a check that found a limitation."""
    return Check(name, "WARN", detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Check:
    """Return a check that found a reason why the module will not sign."""
    return Check(name, "FAIL", detail, remedy)


def count(checks: Sequence[Check]) -> dict[Status, int]:
    """Return how many checks have each status."""
    return {status: sum(one.status == status for one in checks) for status in STATUSES}
