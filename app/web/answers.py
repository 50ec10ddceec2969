"""JSON answers: their headers, their errors, their parameters, and how times look in them.

A time is given three ways: ISO 8601 in UTC, epoch milliseconds (floored) as a number, and
nanoseconds as text, since those exceed 2^53, which is all that a browser's numbers hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.contracts.records import SYMBOL_PATTERN
from app.durations import NANOSECONDS, parse_duration

HEADERS = {
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
#: Seconds after which a client may ask again for what is not available.
RETRY_AFTER = 1
#: Longest text of a parameter that is looked at.
LONGEST = 256
_SYMBOL = re.compile(SYMBOL_PATTERN)
_SECOND, _MILLISECOND = NANOSECONDS["s"], NANOSECONDS["ms"]


class ApiError(Exception):
    """An answer other than 200: `status`, a one-line message, further fields of the body."""

    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: JSON in bytes."""

    status: int
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return HEADERS | ({"Retry-After": str(RETRY_AFTER)} if self.status == 503 else {})


def answer(value: Any, status: int = 200) -> Answer:
    """Encode a value as an answer."""
    return Answer(status, msgspec.json.encode(value) + b"\n")


def refusal(error: ApiError) -> Answer:
    """Turn an error into its answer."""
    return answer({"error": str(error), **error.fields}, error.status)


def bad(message: str) -> ApiError:
    """A fault of a parameter."""
    return ApiError(400, message)


def unknown(what: str, name: str) -> ApiError:
    """A name that there is not."""
    return ApiError(404, f"unknown {what} {name[:LONGEST]!r}")


# --- parameters --------------------------------------------------------------------------------


class Parameters:
    """The query of a request; each name at most once, none but the known ones.

    Raises:
        ApiError: 400, a parameter is unknown, given twice or too long.
    """

    def __init__(self, query: Mapping[str, str], known: set[str]) -> None:
        for name, value in query.items():
            if name not in known:
                raise bad(f"unknown parameter {name[:LONGEST]!r}: expected one of {sorted(known)}")
            if len(value) > LONGEST:
                raise bad(f"parameter {name!r} is longer than {LONGEST} characters")
        if len(set(query)) != len(query):
            raise bad("a parameter is given twice")
        self._query = query

    def text(self, name: str, default: str = "") -> str:
        """The text of a parameter."""
        return self._query.get(name, default)

    def number(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A whole number within bounds.

        Raises:
            ApiError: 400, it is none.
        """
        text = self._query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"-?[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise bad(f"{name}={text!r}: expected a whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """One of some words.

        Raises:
            ApiError: 400, it is none.
        """
        text = self._query.get(name, default)
        if text not in choices:
            raise bad(f"{name}={text!r}: expected one of {', '.join(choices)}")
        return text

    def interval(self, name: str, default: str) -> int:
        """An interval's label, in ns.

        Raises:
            ApiError: 400, it is none.
        """
        text = self._query.get(name, default)
        try:
            return parse_duration(text)
        except ValueError as error:
            raise bad(f"{name}: {error}") from None


def symbol_of(text: str) -> str:
    """A symbol that may exist.

    Raises:
        ApiError: 404, no symbol looks so.
    """
    if not _SYMBOL.fullmatch(text):
        raise unknown("symbol", text)
    return text


# --- times -------------------------------------------------------------------------------------


def iso(nanoseconds: int) -> str:
    """ISO 8601 in UTC, as many digits as needed: `2013-10-07T14:00:00Z`, `...00.250Z`."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    if rest:
        digits = f"{rest:09d}"
        while digits.endswith("000"):
            digits = digits[:-3]
        text = f"{text}.{digits}"
    return f"{text}Z"


def time_fields(name: str, nanoseconds: int | None) -> dict[str, Any]:
    """`NAME_iso`, `NAME_ms`, `NAME_ns` of a time, or of none."""
    if nanoseconds is None:
        return {f"{name}_iso": None, f"{name}_ms": None, f"{name}_ns": None}
    return {
        f"{name}_iso": iso(nanoseconds),
        f"{name}_ms": nanoseconds // _MILLISECOND,
        f"{name}_ns": str(nanoseconds),
    }


def with_times(value: Any) -> Any:
    """A row's plain value with its times as answers give them.

    `start` becomes ISO text with `start_ms` and `start_ns` beside it, `..._time` likewise.
    """
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for name, held in value.items():
            if (name == "start" or name.endswith("_time")) and isinstance(held, int):
                found |= {
                    name: iso(held),
                    f"{name}_ms": held // _MILLISECOND,
                    f"{name}_ns": str(held),
                }
            else:
                found[name] = with_times(held)
        return found
    if isinstance(value, list | tuple):
        return [with_times(each) for each in value]
    return value
