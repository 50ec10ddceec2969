"""Trades in MessagePack: the compiled reader and its pure twin agree, and both agree with JSON."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.forms import pack
from tables.parsing import Parsed
from tables.policies import policy_of
from tables.symbols import Conditions, Sources, Symbols
from tables.texts import compiled_parse
from tests.unit.test_parsing import CHOICES, LIMIT, TIME, USUAL, make_value, packed, parsed_by

needs_compiled = pytest.mark.skipif(
    compiled_parse is None, reason="the compiled parser was not built: no C compiler here"
)

encode = msgspec.msgpack.encode
NUMBERS: tuple[bytes, ...] = (
    *map(encode, (0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**53 + 1)),
    *map(encode, (2**63 - 1, 2**63, 2**64 - 1, -1, -32, -33, -129, -(2**63), 10**12, 10**12 + 1)),
    *map(encode, (0.0, -0.0, 1.0, 167.41, 5e-324, 1e12, 1e12 + 1e-3, -1e12, float("nan"))),
    *map(encode, (float("inf"), float("-inf"), True, None, "1", b"1", [1], {"a": 1})),
    b"\xd3" + (5).to_bytes(8, "big"), b"\xcf" + (5).to_bytes(8, "big"),
    b"\xca" + struct.pack(">f", 1.1), b"\xca" + struct.pack(">f", float("nan")),
    b"\xca\x00", b"\xcb\x00", b"\xcf\x00", b"\xcd\x00", b"\xd0\x05", b"\xc1",
    b"\xd6\xff\x00\x00\x00\x01",
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    *map(encode, ("P", "", None, "x" * 31, "x" * 32, "x" * 64, "x" * 65, "x" * 300, "\0", "a\0b")),
    *map(encode, ('a"b', "a\\b", "é", "a\tb", "~ !", "\x7f", "twelve chars", 5, b"P", ["P"])),
    b"\xd9\x01P", b"\xda\x00\x01P", b"\xa1\xff", b"\xa8seven..", b"\xd9", b"\xc0",
)  # fmt: skip
SYMBOLS = (
    *map(encode, ("SPY", "a", "S" * 32, "S" * 33, "B:C/D", "?", "é", "", None, 5)),
    b"\xd9\x03SPY",
)
ARRAYS: tuple[bytes, ...] = (
    *map(encode, ([], ["odd_lot"], ["odd_lot", "iso"], ["nope"], [1], None, [[]], ['a"b'])),
    *map(encode, (["iso"] * 8, ["iso"] * 9, ["iso"] * 15, ["iso"] * 16, ["x" * 200] * 3, ["\\"])),
    b"\x91\xd9\x03iso", b"\xdc\x00\x01\xa3iso", b"\x92\xa3iso", b"\x93", b"\x91\xa2i\xff",
)  # fmt: skip
USUAL_PARTS = {name: encode(json.loads(text)) for name, text in USUAL.items()}
ODD = {
    "symbol": SYMBOLS, "price": NUMBERS, "size": NUMBERS, "event_time": NUMBERS,
    "trade_id": TEXTS, "sequence": NUMBERS, "venue": TEXTS, "conditions": ARRAYS,
    "source": TEXTS, "type": tuple(map(encode, ("trade", "clock", "flush", None, "trad", 1))),
    "more": (b"\x01",),
}  # fmt: skip
assert ODD.keys() == CHOICES.keys()


def header(count: int, dice: float) -> bytes:
    """A map's first bytes, of any width."""
    if dice < 0.9 and count < 16:
        return bytes([0x80 + count])
    return b"\xde" + count.to_bytes(2, "big") if dice < 0.95 else b"\xdf" + count.to_bytes(4, "big")


def name_bytes(name: str, dice: float) -> bytes:
    """A key: usually a short string, seldom another one."""
    if dice < 0.96:
        return encode(name)
    return b"\xd9" + bytes([len(name)]) + name.encode() if dice < 0.98 else encode(name.encode())


def make_packed(rng: random.Random) -> bytes | None:
    """A trade with up to two odd fields, odd order, or broken bytes."""
    fields = dict(USUAL_PARTS)
    for name in rng.sample(sorted(fields), rng.randrange(4)):
        del fields[name]
    for _ in range(rng.choice((0, 0, 1, 2))):
        name = rng.choice(sorted(ODD))
        fields[name] = rng.choice(ODD[name])
    pairs = list(fields.items())
    if rng.random() < 0.5:
        rng.shuffle(pairs)
    if rng.random() < 0.05 and pairs:
        pairs.append(rng.choice(pairs))
    value = header(len(pairs), rng.random()) + b"".join(
        name_bytes(name, rng.random()) + part for name, part in pairs
    )
    dice = rng.random()
    if dice < 0.05:
        value = value[: rng.randrange(len(value) + 1)]
    elif dice < 0.1:
        place = rng.randrange(len(value))
        value = value[:place] + bytes([rng.randrange(256)]) + value[place + 1 :]
    elif dice < 0.12:
        value += rng.choice((value, b"\0", b"\xc0", b" "))
    elif dice < 0.13:
        value += b"\xa0" * LIMIT
    elif dice < 0.14:
        return None
    return value


def has_field_twice(value: bytes) -> bool:
    """Whether it is a JSON object with a name more than once."""
    try:
        found = json.loads(value, object_pairs_hook=lambda pairs: len(dict(pairs)) < len(pairs))
    except ValueError:
        return False
    return found is True


def assert_same(found: tuple[Parsed, Any], expected: tuple[Parsed, Any]) -> None:
    """The same rows with the same bits, the same controls and dead."""
    (one, meaning), (other, other_meaning) = found, expected
    assert meaning == other_meaning
    assert one.good.tolist() == other.good.tolist()
    good = one.good.astype(np.bool_)
    for name in ("time", "price", "size", "sequence"):
        assert getattr(one, name)[good].tobytes() == getattr(other, name)[good].tobytes(), name
    identities = ([each for each, fine in zip(all_, good, strict=True) if fine] for all_ in (
        one.identities.texts(), other.identities.texts()
    ))  # fmt: skip
    assert next(identities) == next(identities)


@needs_compiled
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**48), st.booleans())
def test_both_parsers_agree_on_every_bit_of_both_forms(seed: int, in_one_piece: bool) -> None:
    rng = random.Random(seed)
    makers: tuple[Callable[[random.Random], bytes | None], ...] = (make_packed, make_value)
    values = [rng.choices(makers, (4, 1))[0](rng) for _ in range(60)]
    read = packed(values) if in_one_piece else values
    assert_same(parsed_by(read, compiled=True), parsed_by(values, compiled=False))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**48), st.booleans())
def test_a_trade_in_messagepack_is_what_it_is_in_json(seed: int, compiled: bool) -> None:
    rng = random.Random(seed)
    values = [value for value in (make_value(rng) for _ in range(60)) if value]
    # What is too large as JSON may be short enough without its spaces, and of a field that is there
    # twice, at first with what nobody can read, `pack` takes the last.
    values = [value for value in values if len(value) <= LIMIT and not has_field_twice(value)]
    moved = [pack(value) if rng.random() < 0.7 else value for value in values]
    assert_same(parsed_by(moved, compiled=compiled), parsed_by(values, compiled=compiled))


@needs_compiled
@settings(max_examples=500, deadline=None)
@given(st.floats(-1e12, 1e12), st.integers(0, 2**63 - 1))
def test_numbers_are_read_to_the_last_bit(price: float, time: int) -> None:
    fields = dict(symbol="A", price=price, size=time % 10**12, event_time=time, sequence=time)
    parsed, _ = parsed_by([encode(fields)], compiled=True)
    assert parsed.good.tolist() == [1]
    assert parsed.price.tobytes() == np.array([price + 0.0]).tobytes()
    assert (parsed.time[0], parsed.sequence[0], parsed.size[0]) == (time, time, time % 10**12)


@needs_compiled
def test_the_usual_trade_takes_the_compiled_way_whatever_its_numbers() -> None:
    assert compiled_parse is not None
    usual = {name: json.loads(text) for name, text in USUAL.items()}
    values: list[bytes | None] = [
        encode(usual),
        encode(usual | {"trade_id": None, "sequence": None, "conditions": [], "venue": None}),
        encode(dict(symbol="A", price=1, size=2**32, event_time=TIME)),
        encode(dict(event_time=TIME, size=65_536, price=300.5, symbol="A", conditions=["iso"] * 8)),
    ]
    symbols, sources = Symbols(0, 1, 10), Sources()
    conditions = Conditions(policy_of("all"))
    parsed = Parsed.empty(4)
    found, identities = compiled_parse(
        values, LIMIT, symbols.table, sources.table, conditions.table, parsed.good, parsed.time,
        parsed.price, parsed.size, parsed.sequence, parsed.symbol, parsed.source,
        parsed.condition, parsed.identities.begin, parsed.identities.length,
    )  # fmt: skip
    assert found == 4
    parsed.identities.data = np.frombuffer(identities, dtype=np.uint8)
    assert parsed.identities.texts() == ["SPY\0P\x007", None, None, None]
    # One code for one list of conditions, whatever the form it came in.
    assert conditions.code_of(("odd_lot",)) == parsed.condition[0]


def test_a_control_record_may_be_messagepack() -> None:
    values = [
        b'{"type":"clock","event_time":5}', b'{"type":"flush"}', b'{"type":"historical"}',
        b'{"type":"correction","action":"cancel","symbol":"A","event_time":3,"trade_id":"x"}',
        b'{"type":"correction","action":"cancel","symbol":"A","event_time":3,"trade_id":"\\u0000"}',
    ]  # fmt: skip
    moved = [pack(value) for value in values]
    assert all(value[0] >= 0x80 for value in moved)
    assert_same(parsed_by(moved, compiled=True), parsed_by(values, compiled=True))
    assert len(parsed_by(moved, compiled=True)[1]["controls"]) == 4


@pytest.mark.parametrize("compiled", [True, False])
def test_arrays_are_refused_in_both_forms(compiled: bool) -> None:
    fields = ["A", 1.0, 2.0, TIME]
    trade = dict(symbol="A", price=1, size=1, event_time=TIME)
    values: list[bytes | None] = [
        encode(fields), encode([trade]), json.dumps([trade]).encode(),
        b"\xdc\x00\x01" + encode(trade),
    ]  # fmt: skip
    _, meaning = parsed_by(values, compiled=compiled)
    assert meaning["dead"] == [(place, "malformed") for place in range(4)]
