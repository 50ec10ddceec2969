"""What a check has found: one sentence, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: `problem`: something will not work. `note`: it works, and could be better or is worth knowing.
Result = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One finding of one check.

    Attributes:
        check: its name, stable: `python`, `packages`, `topics`...
        result: how bad it is.
        says: one sentence without its full stop.
        mend: a command, or what to set; None where nothing is to be mended.
    """

    check: str
    result: Result
    says: str
    mend: str | None = None


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", says)


def note(check: str, says: str, mend: str | None = None) -> Finding:
    """It works, but."""
    return Finding(check, "note", says, mend)


def problem(check: str, says: str, mend: str | None = None) -> Finding:
    """Something will not work."""
    return Finding(check, "problem", says, mend)


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
