"""What PostgreSQL says, as the sinks' errors: who can mend it, and in words that hold no secret."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import psycopg
import psycopg.errors

from app.observe.masking import MASK, mask_text
from app.sinks.driver import SinkError, SinkRefusesError, SinkUnavailableError
from app.sinks.postgres_rows import RowsRefusedError

#: Characters of a message that are told.
_LONGEST: Final = 300
#: Classes of SQLSTATE that are about the rows: data exceptions, constraints, program limits (a key
#: that no index page holds).
_OF_ROWS: Final = ("22", "23", "54")
#: Those that pass, or that somebody mends who is at it already: connections, resources, the
#: operator (shutdown, crash, cancelled), the system, deadlocks.
_PASSING: Final = ("08", "40", "53", "57", "58")
#: And of other classes: a lock that is not free, an idle transaction, a standby that is read only.
_ALSO_PASSING: Final = frozenset({"55P03", "55006", "25P03", "25P04", "25006"})
#: psycopg has no SQLSTATE of a connection that was refused, only what the server says.
_REFUSED: Final = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|does not exist|permission denied"
    r"|not permitted to log in|certificate|does not support SSL|empty password",
    re.IGNORECASE,
)


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """Return a server's words as one line without secrets."""
    for each in secrets:
        text = text.replace(each, MASK)
    line = mask_text(" ".join(text.split()))
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


def connect_error(
    error: psycopg.Error, where: str, secrets: Collection[str]
) -> SinkUnavailableError | SinkRefusesError:
    """Return why there is no connection."""
    text = masked(str(error), secrets)
    if _REFUSED.search(text):
        return SinkRefusesError(f"{where} does not let us in: {text}")
    return SinkUnavailableError(f"{where} does not answer: {text}")


def refusal(state: str) -> str:
    """Return why a row is refused, by its SQLSTATE."""
    try:
        name = psycopg.errors.lookup(state).__name__
    except KeyError:
        name = "an error of a newer server"
    return f"PostgreSQL refuses it: {name} ({state})"


def statement_error(
    error: psycopg.Error, where: str, secrets: Collection[str]
) -> SinkError | RowsRefusedError:
    """Return what an error of a statement means."""
    state = error.sqlstate or ""
    if state.startswith(_OF_ROWS):
        # The server's text may quote the row's.
        return RowsRefusedError(refusal(state))
    text = masked(error.diag.message_primary or str(error), secrets)
    if not state:
        return SinkUnavailableError(f"{where} is away: {text}")
    if state.startswith(_PASSING) or state in _ALSO_PASSING:
        return SinkUnavailableError(f"{where}: {text} ({state})")
    return SinkRefusesError(f"{where} refuses: {text} ({state})")
