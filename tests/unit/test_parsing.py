"""The compiled parser and its pure twin fill the same arrays with the same bits."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.conditions import CONDITIONS
from tables.parsing import Parsed, Parser
from tables.policies import policy_of
from tables.symbols import Conditions, Sources, Symbols
from tables.texts import compiled_parse

try:
    from app.streaming._unpack import PackedValues
except ImportError:
    compiled_parse = None

pytestmark = pytest.mark.skipif(
    compiled_parse is None, reason="the compiled parser was not built: no C compiler here"
)

LIMIT = 2000
TIME = 1_700_000_000_123_456_789
NUMBERS = (
    "1", "0", "-0", "-0.0", "0.1", "167.41", "1e3", "1E-3", "1.5e-7", "123456789012345678",
    "9007199254740993", "9007199254740992", "0.30000000000000004", "1.", ".5", "01", "-", "NaN",
    "Infinity", "1e999", "1000000000000", "1000000000000.5", "-1", "true", "null", '"1"', "+1",
    "0.000000000000000001", "12345.678901234567", "99999999999999999999", "0x10", "1_0", "--1",
)  # fmt: skip
INTEGERS = (
    str(TIME), "0", "1", "9223372036854775807", "9223372036854775808", "-1", "1.0", "1e3", "01",
    "12345678901234567890", "null", "true", '"5"', "",
)  # fmt: skip
TEXTS = (
    '"P"', '""', "null", '"' + "x" * 64 + '"', '"' + "x" * 65 + '"', '"\\u0000"', '"a\\"b"', '"é"',
    '"\\u00e9"', '"a\tb"', "5", '"tab\\t"', '"~ !"', '"\x7f"',
)  # fmt: skip
SYMBOLS = ('"SPY"', '"a"', '"' + "S" * 32 + '"', '"' + "S" * 33 + '"', '"B:C/D"', '"?"', '"é"')
ARRAYS = (
    "[]", '["odd_lot"]', '["odd_lot","iso"]', '[ "odd_lot" , "iso" ]', '["nope"]', "[1]", "null",
    "[[]]", '["odd_lot"', '["a]b"]', '["odd\\u005flot"]', '["odd_lot",]', "[,]", '["iso" "iso"]',
    json.dumps(list(CONDITIONS[:8])), json.dumps(list(CONDITIONS[:9])), '["iso"] ',
)  # fmt: skip
BEFORE = ("", " ", "\t\n", "\r ")
USUAL = {
    "symbol": '"SPY"', "price": "167.41", "size": "100", "event_time": str(TIME),
    "trade_id": '"7"', "sequence": "3", "venue": '"P"', "conditions": '["odd_lot"]',
    "source": '"lean"', "type": '"trade"',
}  # fmt: skip
CHOICES = {
    "symbol": SYMBOLS, "price": NUMBERS, "size": NUMBERS, "event_time": INTEGERS,
    "trade_id": TEXTS, "sequence": INTEGERS, "venue": TEXTS, "conditions": ARRAYS,
    "source": TEXTS, "type": ('"trade"', '"clock"', '"flush"', "null", '"trad"', "1"),
    "more": ("1",),
}  # fmt: skip


def make_value(rng: random.Random) -> bytes | None:
    """A trade with up to two odd fields, odd spacing, odd order, or broken bytes."""
    fields = dict(USUAL)
    for name in rng.sample(sorted(USUAL), rng.randrange(4)):
        del fields[name]
    for _ in range(rng.choice((0, 0, 1, 2))):
        name = rng.choice(sorted(CHOICES))
        fields[name] = rng.choice(CHOICES[name])
    pairs = list(fields.items())
    rng.shuffle(pairs)
    if rng.random() < 0.05 and pairs:
        pairs.append(rng.choice(pairs))
    space = rng.choice(BEFORE)
    inside = f",{space}".join(f'"{name}"{space}:{space}{value}' for name, value in pairs)
    text = f"{space}{{{space}{inside}{space}}}{rng.choice(BEFORE)}"
    value = text.encode()
    dice = rng.random()
    if dice < 0.05:
        value = value[: rng.randrange(len(value) + 1)]
    elif dice < 0.1:
        place = rng.randrange(len(value))
        value = value[:place] + bytes([rng.randrange(256)]) + value[place + 1 :]
    elif dice < 0.12:
        value += value
    elif dice < 0.13:
        value += b" " * LIMIT
    elif dice < 0.14:
        return None
    return value


def parsed_by(values: Sequence[bytes | None], *, compiled: bool) -> tuple[Parsed, dict[str, Any]]:
    """What a fresh parser makes of the values; codes replaced by what they stand for."""
    symbols, sources = Symbols(0, 1, 1000), Sources()
    conditions = Conditions(policy_of("sip"))
    parsed = Parser(symbols, sources, conditions, LIMIT, compiled=compiled).parse(values)
    good = parsed.good.astype(np.bool_)
    meaning = {
        "symbol": [symbols.names[code] for code in parsed.symbol[good].tolist()],
        "source": [
            sources.table.names[code - 1] if code else None for code in parsed.source[good].tolist()
        ],
        "flags": conditions.tables[0][parsed.condition[good]].tolist(),
        "controls": [(place, repr(record)) for place, record in parsed.controls],
        "dead": sorted(parsed.dead),
    }
    return parsed, meaning


def packed(values: list[bytes | None]) -> Sequence[bytes | None]:
    """The values in one piece of memory, as a fetch has them."""
    whole = np.frombuffer(b"".join(value or b"" for value in values) + b"{", dtype=np.uint8)
    lengths = np.array([-1 if value is None else len(value) for value in values], dtype=np.int32)
    begins = np.concatenate(([0], np.cumsum(np.maximum(lengths, 0))[:-1]))
    return PackedValues(begins + whole.ctypes.data, lengths, (memoryview(whole),))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**48), st.booleans())
def test_both_parsers_agree_on_every_bit(seed: int, in_one_piece: bool) -> None:
    rng = random.Random(seed)
    values = [make_value(rng) for _ in range(60)]
    read = packed(values) if in_one_piece else values
    compiled, compiled_meaning = parsed_by(read, compiled=True)
    pure, pure_meaning = parsed_by(values, compiled=False)
    assert compiled_meaning == pure_meaning
    assert compiled.good.tolist() == pure.good.tolist()
    good = compiled.good.astype(np.bool_)
    for name in ("time", "price", "size", "sequence"):
        assert getattr(compiled, name)[good].tobytes() == getattr(pure, name)[good].tobytes(), name
    assert [one for one, fine in zip(compiled.identities.texts(), good, strict=True) if fine] == [
        one for one, fine in zip(pure.identities.texts(), good, strict=True) if fine
    ]


@settings(max_examples=500, deadline=None)
@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=6))
def test_decimals_are_read_to_the_last_bit(price: Any) -> None:
    value = json.dumps(dict(symbol="A", price=0, size=1, event_time=TIME)).replace(
        '"price": 0', f'"price": {price:f}'
    )
    parsed, _ = parsed_by([value.encode()], compiled=True)
    assert parsed.good.tolist() == [1]
    assert parsed.price[0] == float(price)


def test_the_usual_trade_takes_the_compiled_way() -> None:
    assert compiled_parse is not None
    values: list[bytes | None] = [
        json.dumps({name: json.loads(text) for name, text in USUAL.items()}).encode(),
        json.dumps(dict(symbol="A", price=1.5, size=1, event_time=TIME)).encode(),
    ]
    symbols, sources = Symbols(0, 1, 10), Sources()
    conditions = Conditions(policy_of("all"))
    parsed = Parsed.empty(2)
    found, identities = compiled_parse(
        values, LIMIT, symbols.table, sources.table, conditions.table, parsed.good, parsed.time,
        parsed.price, parsed.size, parsed.sequence, parsed.symbol, parsed.source,
        parsed.condition, parsed.identities.begin, parsed.identities.length,
    )  # fmt: skip
    assert found == 2
    parsed.identities.data = np.frombuffer(identities, dtype=np.uint8)
    assert parsed.identities.texts() == ["SPY\0P\x007", None]
