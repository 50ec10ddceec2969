"""What may be wrong with indicators, and with records that move an alias of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.contracts.predictions import MAX_INDICATORS
from tests.unit.bad_values import HUGE, NOT_NUMBERS, Bad, changed, raw, sample, without
from tests.unit.good_models import moves
from tests.unit.good_records import GOOD

MISSING = "missing_indicators"


def bad_indicators(partition: int) -> Iterator[Bad]:
    """Beside what may be wrong with any bar."""
    record = sample("indicators", partition)
    values: dict[str, Any] = record["values"]
    for flag in (1, 0, "true", None):
        yield Bad(f"exact is {flag!r}", (changed(record, exact=flag),))
    yield Bad("none of the values", (changed(record, values={}),), MISSING)
    yield Bad("other values", (changed(record, values={"a": 1}),), MISSING)
    for name in ("CLOSE", "MACD(12,26,9).histogram", "SESSION_VWAP"):
        yield Bad(f"lacks {name}", (changed(record, values=values_without(values, name)),), MISSING)
        for text in (*NOT_NUMBERS, "9" * 400):
            # Null is what an indicator has in its warm-up, and all of a bar that was emptied.
            if text != "null":
                inner = raw(values, name, text)
                yield Bad(f"{name} is {text[:12]}", (raw(record, "values", inner),))
    many = values | {f"a{number}": 1.0 for number in range(MAX_INDICATORS)}
    yield Bad("too many values", (changed(record, values=many),))
    yield Bad("a value without a name", (raw(record, "values", b'{"CLOSE":1,2:3}'),))
    bar = json.loads(GOOD["bars"](partition)[0])
    yield Bad("a bar", (changed(bar),))
    yield from _moves()


def values_without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """All but one."""
    return {each: value for each, value in values.items() if each != name}


def _moves() -> Iterator[Bad]:
    move: dict[str, Any] = json.loads(moves()[0]) | {"generation": 7}
    wrong: object
    for name in move:
        yield Bad(f"a move without {name}", (without(move, name),))
        for wrong in (1.5, True, [], {}, -1):
            yield Bad(f"a move with {name} {wrong}", (changed(move, **{name: wrong}),))
        if name not in ("version", "sha256"):
            yield Bad(f"a move with {name} null", (changed(move, **{name: None}),))
    for name in ("generation", "version"):
        for text in (*NOT_NUMBERS, *HUGE, "0"):
            value = raw(move, name, text)
            yield Bad(f"a move with {name} {text[:12]}, {len(text)}, raw", (value,))
    sha256 = move["sha256"]
    for text in ("", sha256[1:], sha256 + "0", sha256.upper(), "g" + sha256[1:], sha256 + "\n"):
        yield Bad(f"a move with sha256 {text!r}", (changed(move, sha256=text),))
    for name in ("model", "alias"):
        yield Bad(f"a move with a long {name}", (changed(move, **{name: "a" * 65}),))
    for fields in (
        {"version": None},
        {"sha256": None},
        {"colour": "red"},
        {"type": "Alias"},
        {"type": "alias\0"},
        {"symbol": "A"},
    ):
        yield Bad(f"a move with {fields}", (changed(move, **fields),))
