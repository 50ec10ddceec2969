"""Columns to lines of InfluxDB's line protocol, and its escaping.

Numbers are written a column at a time by msgspec: floats in the shortest form that reads back as
the same double, ten times as fast as `repr` a value.

Source: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

#: Times that InfluxDB takes, in ns: the three outermost of 64 bits are its own.
MIN_TIME: Final = -(2**63) + 2
MAX_TIME: Final = 2**63 - 2
#: What a value is that has no text.
NULL: Final = "null"
_encode = msgspec.json.Encoder().encode
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_MEASUREMENT = str.maketrans({",": r"\,", " ": r"\ "})
_STRING = str.maketrans({"\\": r"\\", '"': r"\""})


class Kind(StrEnum):
    """Type of a field; the first point that has it decides it for the whole bucket."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"


class UnwritableError(ValueError):
    """A text that line protocol cannot carry there."""


def escape_measurement(name: str) -> str:
    """Write a measurement's name.

    Raises:
        UnwritableError: see `escape_key`; or it begins with `#`, or `_`, which are not ours to use.
    """
    if name[:1] in ("#", "_"):
        raise UnwritableError(f"{name!r} begins with {name[0]!r}")
    return _checked(name).translate(_MEASUREMENT)


def escape_key(text: str) -> str:
    """Write a tag's key or value, or a field's key.

    Raises:
        UnwritableError: it is empty, ends with a backslash (which would escape what follows), or
            has a control character (a line feed ends the line).
    """
    return _checked(text).translate(_KEY)


def quote(text: str) -> str:
    """Write a string field's value, in quotes; control characters, such as line feeds, as spaces.

    The protocol has no way to carry a line feed in a value.
    """
    if text.isalnum():
        return f'"{text}"'
    return f'"{_CONTROLS.sub(" ", text).translate(_STRING)}"'


def string(value: str | tuple[str, ...] | None) -> str:
    """Write a string field of a point; `NULL` for what is a gap."""
    if value is None or value == ():
        return NULL
    return quote(value if isinstance(value, str) else ",".join(value))


def series(measurement: str, tags: Mapping[str, str | None]) -> str:
    """Write a measurement and its tags, sorted by key; a tag without a value is left out.

    Raises:
        UnwritableError: a name or value that cannot be written.
    """
    parts = [escape_measurement(measurement)]
    parts += [
        f"{escape_key(key)}={escape_key(value)}" for key, value in sorted(tags.items()) if value
    ]
    return ",".join(parts)


@dataclass(frozen=True, slots=True)
class Column:
    """One field of many points: `texts` are of its values, or `NULL`; `gaps` where any is."""

    name: str
    kind: Kind
    texts: Sequence[str]
    gaps: bool


def column(name: str, kind: Kind, values: Sequence[Any]) -> Column:
    """Write the values of a field; None, NaN and infinities are gaps.

    A string field takes text, a tuple of texts (joined by commas, a gap where it is empty) or
    dictionaries alone (as JSON). A float field takes integers, too.
    """
    if not values:
        return Column(name, kind, [], False)
    if kind is not Kind.STRING:
        encoded = _encode(values)
        return Column(name, kind, encoded[1:-1].decode().split(","), NULL.encode() in encoded)
    if isinstance(values[0], dict):
        return Column(name, kind, [quote(_encode(value).decode()) for value in values], False)
    known = {value: string(value) for value in set(values)}
    return Column(name, kind, [known[value] for value in values], NULL in known.values())


def numbers(values: Sequence[float | bool | None]) -> list[str]:
    """Write numbers or booleans, floats in their shortest exact form; else `NULL`."""
    return _encode(values)[1:-1].decode().split(",") if values else []


def encode_lines(
    heads: Sequence[str],
    columns: Sequence[Column],
    times: Sequence[int],
    more: Sequence[str] | None = None,
) -> list[str]:
    """Return a line a point, without its line end; empty for a point without any field.

    Args:
        heads: measurement and tags of each point, as `series` writes them.
        columns: the fields, in the order in which they are written; each of one value a point.
        times: in ns.
        more: further fields of each point, each with a comma before it (`mapped`).
    """
    if not heads:
        return []
    parts: list[str] = []
    data: list[Sequence[str]] = []
    for each in columns:
        key, suffix = escape_key(each.name), "i" if each.kind is Kind.INTEGER else ""
        first = each.texts[0]
        if each.gaps:
            parts.append("%s")
            data.append(["" if text == NULL else f",{key}={text}{suffix}" for text in each.texts])
        elif each.texts.count(first) == len(heads):
            # What all have is written once.
            parts.append(f",{key}={first}{suffix}".replace("%", "%%"))
        else:
            parts.append(f",{key.replace('%', '%%')}=%s{suffix}")
            data.append(each.texts)
    if more is not None:
        parts.append("%s")
        data.append(more)
    stamps = numbers(times)
    if columns and not columns[0].gaps:
        # Every point has a field, and the first one needs no comma before it.
        template = f"%s {''.join(parts)[1:]} %s"
        return list(map(template.__mod__, zip(heads, *data, stamps, strict=True)))
    template = "".join(parts)
    bodies = [template % row for row in zip(*data, strict=True)] if data else [""] * len(heads)
    return [
        f"{head} {body[1:]} {stamp}" if body else ""
        for head, body, stamp in zip(heads, bodies, stamps, strict=True)
    ]


def mapped(keys: Sequence[str], kind: Kind, values: Sequence[float | None]) -> str:
    """Write the numbers of one point, a comma before each; `keys` as `escape_key` writes them."""
    suffix = "i" if kind is Kind.INTEGER else ""
    return "".join(
        [
            f",{key}={text}{suffix}"
            for key, text in zip(keys, numbers(values), strict=True)
            if text != NULL
        ]
    )


def absent(names: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return the names of the fields that have no text."""
    return [name for name, text in zip(names, texts, strict=True) if text == NULL]


def _checked(text: str) -> str:
    if not text or text[-1] == "\\" or _CONTROLS.search(text):
        raise UnwritableError(f"line protocol has no way to write {text!r} as a name or tag")
    return text
