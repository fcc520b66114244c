"""What is wrong with an input or a manifest: one shape for render, validate and doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    ``code`` is stable (``MBK0101``) and documented; ``where`` is ``file::$.path``, or only a path
    into the input; ``mend`` says what to do about it.
    """

    code: str
    severity: Severity
    where: str
    message: str
    mend: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields by name, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return two lines for people."""
        return f"{self.where}: {self.severity}: {self.message} [{self.code}]\n  mend: {self.mend}"
