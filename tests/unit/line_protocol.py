"""A reader of line protocol, written from its specification alone, to hold our writer against.

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/: in a measurement a
backslash escapes comma and space; in keys and tag values also the equals sign; in a string value
the quote and itself. Anywhere else it stands for itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Value = float | int | bool | str
_FLOAT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")
_INTEGER = re.compile(r"[+-]?\d+i\Z")


@dataclass(frozen=True)
class Point:
    """What a line says."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    time: int


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        assert self.at < len(self.text), f"{self.text!r} ends too early"
        return self.text[self.at]

    def expect(self, character: str) -> None:
        assert self.peek() == character, f"{self.text!r}, {self.at}: expected {character!r}"
        self.at += 1

    def until(self, ends: str, escapable: str) -> str:
        """Read up to one of `ends` that is not escaped."""
        found = ""
        while self.peek() not in ends:
            if self.peek() == "\\" and self.text[self.at + 1] in escapable:
                self.at += 1
            found += self.peek()
            self.at += 1
        assert found, f"{self.text!r}, {self.at}: a name or value is empty"
        return found

    def quoted(self) -> str:
        self.expect('"')
        found = ""
        while self.peek() != '"':
            if self.peek() == "\\" and self.text[self.at + 1] in '"\\':
                self.at += 1
            found += self.peek()
            self.at += 1
        self.expect('"')
        return found


def parse(line: str) -> Point:
    """Read one line.

    Raises:
        AssertionError: it is none.
    """
    assert "\n" not in line
    assert line[:1] not in ("#", " ")
    reader = _Reader(line)
    measurement = reader.until(", ", ", ")
    tags: dict[str, str] = {}
    while reader.peek() == ",":
        reader.at += 1
        key = reader.until("=", ",= ")
        reader.expect("=")
        assert key not in tags
        tags[key] = reader.until(", ", ",= ")
    fields: dict[str, Value] = {}
    while True:
        reader.at += 1
        key = reader.until("=", ",= ")
        reader.expect("=")
        assert key not in fields, f"{line!r}: {key!r} is there twice"
        fields[key] = reader.quoted() if reader.peek() == '"' else _value(reader.until(", ", ""))
        if reader.peek() == " ":
            break
        assert reader.peek() == ","
    return Point(measurement, tags, fields, int(line[reader.at + 1 :]))


def _value(text: str) -> Value:
    if text in ("t", "T", "true", "True", "TRUE"):
        return True
    if text in ("f", "F", "false", "False", "FALSE"):
        return False
    if _INTEGER.match(text):
        assert -(2**63) <= int(text[:-1]) < 2**63
        return int(text[:-1])
    assert _FLOAT.match(text), f"{text!r} is no value"
    return float(text)
