"""The published contract (pydantic) and the hot path's decoders (msgspec) take the same values."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.conditions import BIT, CONDITIONS, UnknownConditionError, mask_of
from app.contracts.records import (
    MAX_PRICE,
    MAX_SIZE,
    MAX_TIME,
    SYMBOL_PATTERN,
    ActivityBar,
    Anomaly,
    Bar,
    Clock,
    Contract,
    Flush,
    Historical,
    Indicators,
    Trade,
)
from app.contracts.schema import json_schemas
from app.contracts.wire import (
    AnomalyRecord,
    BarInput,
    BarRecord,
    IndicatorsRecord,
    TradeRecord,
    bar_decoder,
    control_decoder,
    encoder,
    trade_decoder,
)
from tables.activity import ActivityBarRecord

SYMBOL = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")

#: Values as JSON text, so that what Python cannot hold (NaN, 1.0 beside 1, 1e999) is there too.
numbers = st.one_of(
    st.integers(-10, 10).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            *("0", "-0", "-0.0", "1.0", "1e0", "1e3", "1E+2", "1.5e1", "100000000000.0e1"),
            *("1e999", "-1e999", "1e-999", "NaN", "Infinity", "-Infinity", "nan", "01", "1."),
            *(".5", "+1", "1e", "--1", "0x10", "1_0", "9" * 30, "9" * 400, "1" + "0" * 308),
            *(str(value) for value in (2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63))),
            *(repr(value) for value in (MAX_PRICE, -MAX_PRICE, 1.0000001e12, MAX_SIZE * 2)),
            *(str(value) for value in (10**12, 10**12 + 1, -(10**12) - 1, MAX_TIME)),
        ]
    ),
)
texts = st.one_of(
    st.sampled_from(["", "SPY", "BTC/USD", "a" * 32, "a" * 33, "x" * 64, "x" * 65, "^GSPC", "A\n"]),
    st.sampled_from(["é", "日経", "😀" * 64, "😀" * 65, "\x00", "\x7f", "A B", '"', "\\"]),
    st.text(max_size=70),
)
raw_texts = st.sampled_from(
    [
        *('"\\u0041"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00\\ud800"', '"\\x41"', '"\\u00"'),
        *('"a\tb"', '"a\nb"', '"a\x01b"', "'A'", '"A', "A"),
    ]
)
names = st.sampled_from([*CONDITIONS, "odd_lot", "", "Regular", "full_moon"])
name_lists = st.lists(names.map(json.dumps) | numbers | st.just("null"), max_size=10).map(
    lambda items: "[" + ",".join(items) + "]"
)
scalars = st.sampled_from(["null", "true", "false", "[]", "{}", '{"a":1}', "[null]", "[[]]", ""])
values = st.one_of(
    numbers, numbers.map(lambda text: f'"{text}"'), texts.map(json.dumps), raw_texts, name_lists
)
values = st.one_of(values, texts.map(lambda text: json.dumps(text, ensure_ascii=False)), scalars)
types = st.sampled_from(
    ['"trade"', '"clock"', '"historical"', '"flush"', '"Trade"', '""', "null", "1", '["trade"]']
)

FIELDS: dict[str, st.SearchStrategy[str]] = {
    "type": types,
    "symbol": texts.map(json.dumps),
    "price": numbers,
    "size": numbers,
    "event_time": numbers,
    "trade_id": texts.map(json.dumps),
    "sequence": numbers,
    "venue": texts.map(json.dumps),
    "conditions": name_lists,
    "source": texts.map(json.dumps),
}
VALID = {
    "trade": {"symbol": '"SPY"', "price": "167.41", "size": "100", "event_time": "1381132800464"},
    "clock": {"type": '"clock"', "event_time": "1381132800464000000"},
    "historical": {"type": '"historical"'},
    "flush": {"type": '"flush"'},
}


@st.composite
def changed(draw: st.DrawFn, record: str, doubled: bool = False) -> bytes:
    """A valid record with up to four changes: fields set, removed, added and, if asked, doubled."""
    pairs = list(VALID[record].items())
    changes = ["set", "set", "set", "wild", "remove", "unknown", *(["double"] * 3 * doubled)]
    for _ in range(draw(st.integers(0, 4))):
        change = draw(st.sampled_from(changes))
        if change == "remove" and pairs:
            pairs.pop(draw(st.integers(0, len(pairs) - 1)))
            continue
        if change == "unknown":
            name = draw(st.sampled_from(["colour", "Symbol", "", "symbol ", "\\u0073ymbol"]))
            if name == "\\u0073ymbol":
                pairs = [pair for pair in pairs if pair[0] != "symbol"]
        else:
            name = draw(st.sampled_from(sorted(FIELDS)))
        value = draw(FIELDS[name] if change in ("set", "double") else values)
        if change != "double":
            same = {name, "\\u0073ymbol"} if name == "symbol" else {name}
            pairs = [pair for pair in pairs if pair[0] not in same]
        pairs.append((name, value))
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    text = "{" + ",".join(f'{space}"{name}":{space}{value}' for name, value in pairs) + "}"
    ending = draw(st.sampled_from(["", "", "", "", " ", "\n", ",", "{}", "x", "\x00"]))
    return (text + ending).encode("utf-8", "surrogatepass")


def by_pydantic(model: type[Contract], value: bytes) -> dict[str, Any] | None:
    try:
        return model.model_validate_json(value).model_dump()
    except ValidationError:
        return None


def trade_by_msgspec(value: bytes) -> dict[str, Any] | None:
    """The hot path's decoder and the checks that come after it: alphabet, vocabulary, no NUL."""
    try:
        record = trade_decoder.decode(value)
        mask_of(record.conditions)
    except (msgspec.MsgspecError, UnicodeDecodeError, UnknownConditionError):
        return None
    texts = (record.trade_id, record.venue, record.source)
    if SYMBOL.match(record.symbol) is None or any("\0" in text for text in texts if text):
        return None
    return {"type": "trade", **msgspec.structs.asdict(record)}


def control_by_msgspec(value: bytes, record: str) -> dict[str, Any] | None:
    try:
        decoded = control_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    fields: dict[str, Any] = {"type": type(decoded).__struct_config__.tag}
    fields |= msgspec.structs.asdict(decoded)
    return fields if fields["type"] == record else None


@given(changed("trade"))
@settings(max_examples=1_500, deadline=None)
@example(b'{"symbol":"SPY","price":1,"size":1.0,"event_time":1,"type":null}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1.0}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1e0}')
@example(b'{"symbol":"SPY","price":true,"size":1,"event_time":1}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1,"sequence":true}')
@example(b'{"symbol":"SPY\\n","price":1,"size":1,"event_time":1}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1,"venue":"\xff"}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1,"venue":"a\nb"}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1,"conditions":null}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1,"conditions":"iso"}')
@example(b'\xef\xbb\xbf{"symbol":"SPY","price":1,"size":1,"event_time":1}')
@example(b'[{"symbol":"SPY","price":1,"size":1,"event_time":1}]')
@example(b"null")
@example(b"")
def test_trades_are_the_same_for_both(value: bytes) -> None:
    assert trade_by_msgspec(value) == by_pydantic(Trade, value)


@given(changed("trade", doubled=True))
@settings(max_examples=300, deadline=None)
@example(b'{"symbol":"SPY","price":1,"price":2,"size":1,"event_time":1}')
@example(b'{"symbol":"SPY","price":1,"size":1,"event_time":1,"type":"clock","type":"trade"}')
def test_of_a_name_given_twice_the_hot_path_judges_both_and_takes_the_last(value: bytes) -> None:
    """RFC 8259 wants names to be unique. Pydantic sees the last value only; msgspec all."""
    record = trade_by_msgspec(value)
    assert record is None or record == by_pydantic(Trade, value)


@pytest.mark.parametrize(
    ("record", "model"), [("clock", Clock), ("historical", Historical), ("flush", Flush)]
)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_control_records_are_the_same_for_both(
    record: str, model: type[Contract], data: st.DataObject
) -> None:
    value = data.draw(changed(record))
    assert control_by_msgspec(value, record) == by_pydantic(model, value)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        BarRecord,
        symbol=st.from_regex(SYMBOL, fullmatch=True),
        interval=st.sampled_from(["1s", "1m"]),
        start=st.integers(0, MAX_TIME),
        open=finite,
        high=finite,
        low=finite,
        close=finite,
        volume=finite,
        vwap=finite | st.none(),
        trades=st.integers(0, 2**40),
        revision=st.integers(0, 2**31),
        is_final=st.booleans(),
        filled=st.booleans(),
        sources=st.lists(st.text(min_size=1, max_size=5), max_size=3).map(tuple),
    )
)
@settings(deadline=None)
def test_bars_as_written_are_bars_of_the_contract(bar: BarRecord) -> None:
    value = encoder.encode(bar)
    assert bar_decoder.decode(value) == bar
    assert Bar.model_validate_json(value).model_dump() == msgspec.structs.asdict(bar)


def test_the_twins_have_the_same_fields_in_the_same_order() -> None:
    assert ("type", *TradeRecord.__struct_fields__) == tuple(Trade.model_fields)
    assert BarRecord.__struct_fields__ == BarInput.__struct_fields__ == tuple(Bar.model_fields)
    assert IndicatorsRecord.__struct_fields__ == tuple(Indicators.model_fields)
    assert AnomalyRecord.__struct_fields__ == tuple(Anomaly.model_fields)
    assert ActivityBarRecord.__struct_fields__ == tuple(ActivityBar.model_fields)


def test_schemas_are_given_for_every_record() -> None:
    schemas = json_schemas()
    assert list(schemas) == [
        "trade",
        "quote",
        "clock",
        "historical",
        "flush",
        "correction",
        "bar",
        "activity_bar",
        "indicators",
        "anomaly",
        "features",
        "leg",
        "leg_progress",
        "pair",
        "transaction",
        "portfolio_update",
        "closing_price",
        "progress",
        "position",
        "portfolio_value",
        "limit",
        "quality_event",
        "quality_summary",
        "alias_move",
        "prediction",
        "prediction_outcome",
        "prediction_monitoring",
        "quote_bar",
    ]
    trade = schemas["trade"]
    assert trade["required"] == ["symbol", "price", "size", "event_time"]
    assert trade["additionalProperties"] is False
    assert trade["properties"]["symbol"]["pattern"] == SYMBOL_PATTERN
    json.dumps(schemas)


def test_conditions_are_bits_of_a_mask() -> None:
    assert mask_of(()) == 0
    assert mask_of(("odd_lot", "iso", "odd_lot")) == BIT["odd_lot"] | BIT["iso"]
    assert list(CONDITIONS) == sorted(set(CONDITIONS))
    with pytest.raises(UnknownConditionError, match="full_moon"):
        mask_of(("iso", "full_moon"))
