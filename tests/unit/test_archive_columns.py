"""Records as columns: exact, whichever way they come."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.archive import compiled
from app.archive.columns import Decoded, decode, parquet_bytes, read_parquet, schema_of
from app.archive.compiled import quick_columns
from app.archive.layout import LAYOUTS
from app.contracts.predictions import AlternativeRecord, PredictionRecord
from app.contracts.record_forms import form_of
from app.contracts.wire import (
    AnomalyRecord,
    BarRecord,
    IndicatorsRecord,
    QuoteRecord,
    TradeRecord,
    encoder,
)
from models.features.windows import FeatureRecord
from tables.quality.events import QualityEventRecord
from tests.unit.archive_feeding import FRIDAY, bar


def decoded(topic: str, values: Sequence[bytes | None]) -> Decoded:
    offsets = np.arange(len(values), dtype=np.int64)
    return decode(topic, 0, values, offsets, FRIDAY + offsets)


#: What other readers take and the contract does not, or writes otherwise; made of a good bar.
ODD = [
    (b'"trades":3', b'"trades":3.7'),
    (b'"trades":3', b'"trades":"3"'),
    (b'"trades":3', b'"trades":null'),
    (b'"trades":3', b'"trades":9223372036854775808'),
    (b'"open":1.0', b'"open":true'),
    (b'"open":1.0', b'"open":NaN'),
    (b'"open":1.0', b'"open":1e999'),
    (b'"open":1.0', b'"open":1'),
    (b'"open":1.0', b'"open":1' + 400 * b"0" + b".0"),
    (b'"open":1.0,', b'"open":1.0,"more":1,'),
    (b'"symbol":"A"', b'"symbol":5'),
    (b'"symbol":"A"', b'"symbol":"\\u0041"'),
    (b'"symbol":"A"', b'"symbol":"\xff"'),
    (b'["sip"]', b'["sip",]'),
    (b'["sip"]', b'["sip"'),
    (b'["sip"]}', b'["sip"]} '),
]


#: Topics whose records are flat, or have one mapping of floats.
AT_ONCE = [
    "activity",
    "anomalies",
    "bars",
    "features",
    "indicators",
    "pairs",
    "portfolio.limits",
    "portfolio.positions",
    "portfolio.values",
    "predictions.outcomes",
    "quotes",
    "quotes.bars",
    "ticks",
]


def exactly(topic: str, values: Sequence[bytes | None]) -> Decoded:
    """Return the same without the compiled reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "compiled_reader", None)
        return decoded(topic, values)


def assert_same(topic: str, values: Sequence[bytes | None]) -> None:
    found, exact = decoded(topic, values), exactly(topic, values)
    assert found.rows.schema == exact.rows.schema == schema_of(topic)
    found.rows.validate(full=True)
    # As bytes: -0.0 is 0.0 and NaN is not NaN otherwise.
    assert parquet_bytes(found.rows) == parquet_bytes(exact.rows)
    assert found.rows.equals(exact.rows)
    assert found.raw.equals(exact.raw)
    assert found.times.tolist() == exact.times.tolist()
    assert found.raw_times.tolist() == exact.raw_times.tolist()


FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6),
    st.integers(-(10**12), 10**12).map(lambda number: number / 10_000),
    st.floats(1e-9, 1e-4),
    st.sampled_from([0.0, -0.0, 1e16, 1e17, 1e22, 1e23, 5e-324, 2.0**53, 2.0**53 + 2, 0.1, 1 / 3]),
)
NAMES = st.sampled_from(["A", "BRK.B", "BTC/USD", "ÄÖ", 'a"b', "x" * 33, ""])
COUNTS = st.one_of(st.integers(0, 1_000), st.integers(-(2**63), 2**63 - 1))
BARS = st.builds(
    BarRecord,
    symbol=NAMES,
    interval=st.sampled_from(["1s", "1m"]),
    start=st.integers(0, 2**62),
    open=FLOATS,
    high=FLOATS,
    low=FLOATS,
    close=FLOATS,
    volume=FLOATS,
    vwap=st.none() | FLOATS,
    trades=COUNTS,
    revision=st.integers(0, 3),
    is_final=st.booleans(),
    filled=st.booleans(),
    sources=st.sampled_from([(), ("sip",), ("a", "b"), ("ä",)]),
)
TEXTS = st.none() | st.sampled_from(["1", "N", "", "x" * 65, "ä"])
TRADES = st.builds(
    TradeRecord,
    symbol=NAMES,
    price=FLOATS,
    size=FLOATS,
    event_time=st.integers(-5, 2**62),
    trade_id=TEXTS,
    sequence=st.none() | COUNTS,
    venue=TEXTS,
    conditions=st.sampled_from([(), ("odd_lot",), ("odd_lot", "odd_lot"), ("unknown",)]),
    source=TEXTS,
)
QUOTES = st.builds(
    QuoteRecord,
    symbol=NAMES,
    bid=FLOATS,
    ask=FLOATS,
    event_time=st.integers(0, 2**62),
    bid_size=FLOATS,
    ask_size=FLOATS,
    sequence=st.none() | COUNTS,
    venue=TEXTS,
    source=TEXTS,
)
# The last two are the longest that is read at once, and one more.
ENTRIES = st.sampled_from(["RSI(14)", "EMA(12)", "a.b", "", "ä", 'a"b', "x" * 510, "x" * 511])
INDICATORS = st.builds(
    IndicatorsRecord,
    symbol=NAMES,
    interval=st.sampled_from(["1s", "1m"]),
    start=st.integers(0, 2**62),
    revision=st.integers(0, 3),
    exact=st.booleans(),
    values=st.dictionaries(ENTRIES, st.none() | FLOATS, max_size=6),
)
FEATURES = st.builds(
    FeatureRecord,
    symbol=NAMES,
    kind=st.sampled_from(["ticks", "quotes"]),
    window=st.sampled_from(["5m", "day"]),
    start=st.integers(0, 2**62),
    end=st.integers(0, 2**62),
    complete=st.booleans(),
    values=st.dictionaries(ENTRIES, st.none() | FLOATS | COUNTS, max_size=6),
)
ANOMALIES = st.builds(
    AnomalyRecord,
    symbol=NAMES,
    interval=st.sampled_from(["1s", "1m"]),
    start=st.integers(0, 2**62),
    revision=st.integers(0, 3),
    source=st.sampled_from(["prices", "ä"]),
    score=FLOATS,
    threshold=FLOATS,
    is_anomaly=st.booleans(),
    reason=st.sampled_from(["", "far", 'a"b']),
    rules=st.sampled_from([(), ("spike",), ("spike", "gap")]),
    features=st.dictionaries(ENTRIES, FLOATS, max_size=6),
    learned=st.booleans(),
)


@st.composite
def mangled(draw: st.DrawFn, records: st.SearchStrategy[msgspec.Struct]) -> bytes | None:
    """A record as the engine writes it, or with a byte, a field or an entry less, more or other."""
    value = encoder.encode(draw(records))
    kind = draw(st.integers(0, 9))
    place = draw(st.integers(0, len(value)))
    if kind == 0:
        return (
            value[:place] + draw(st.binary(max_size=2)) + value[place + draw(st.integers(0, 2)) :]
        )
    if kind == 1:
        tree = msgspec.json.decode(value)
        del tree[draw(st.sampled_from(sorted(tree)))]
        return msgspec.json.encode(tree)
    if kind == 2:
        return draw(st.none() | st.just(b"{}") | st.just(msgspec.json.format(value)))
    if kind == 3:
        # One that may be there already.
        name = msgspec.json.encode(draw(ENTRIES))
        return value.replace(b'":{', b'":{' + name + draw(st.sampled_from([b":2.5,", b":null,"])))
    return value


@pytest.mark.parametrize(
    ("topic", "records"),
    [
        ("anomalies", ANOMALIES),
        ("bars", BARS),
        ("features", FEATURES),
        ("indicators", INDICATORS),
        ("quotes", QUOTES),
        ("ticks", TRADES),
    ],
)
def test_what_is_read_at_once_is_what_msgspec_reads_one_by_one(
    topic: str, records: st.SearchStrategy[msgspec.Struct]
) -> None:
    @settings(max_examples=80, deadline=None)
    @given(values=st.lists(mangled(records), max_size=8))
    def hold(values: list[bytes | None]) -> None:
        assert_same(topic, values)

    hold()


DIGITS = st.text("0123456789", min_size=1, max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    sign=st.sampled_from(["", "-"]),
    whole=DIGITS,
    fraction=st.just("") | DIGITS.map(lambda digits: f".{digits}"),
    exponent=st.just("") | st.integers(-330, 330).map(lambda power: f"e{power}"),
)
def test_every_number_is_its_nearest_double(
    sign: str, whole: str, fraction: str, exponent: str
) -> None:
    number = f"{sign}{whole}{fraction}{exponent}".encode()
    assert_same("bars", [bar("A", FRIDAY).replace(b'"open":1.0', b'"open":' + number)])


@pytest.mark.parametrize(("lowest", "highest", "left"), [(-6, 12, 0.01), (-30, 40, 0.6)])
def test_doubles_of_all_lengths_are_read_back(lowest: int, highest: int, left: float) -> None:
    generator = random.Random(3)
    numbers = [
        round(generator.uniform(-1, 1) * 10.0 ** generator.randint(lowest, highest), digits)
        for digits in [*range(1, 13), *12 * [40]]
        for _ in range(1_000)
    ]
    base = bar("A", FRIDAY)
    values = [base.replace(b'"open":1.0', b'"open":%s' % repr(each).encode()) for each in numbers]
    columns, rest = quick_columns(BarRecord, schema_of("bars"), values)
    assert columns[3].to_numpy().tobytes() == np.delete(np.array(numbers), rest).tobytes()
    # What is not certain is seldom.
    assert len(rest) <= left * len(values)


@pytest.mark.parametrize(("old", "new"), ODD)
def test_what_the_contract_has_not_goes_the_exact_way(old: bytes, new: bytes) -> None:
    good = bar("A", FRIDAY)
    assert old in good
    values = [good, good.replace(old, new), good]
    assert_same("bars", values)
    found = decoded("bars", values)
    assert found.rows.num_rows + found.raw.num_rows == 3
    columns, rest = quick_columns(BarRecord, schema_of("bars"), values)
    assert len(columns[0]) + len(rest) == 3
    assert set(rest.tolist()) <= {1}


#: Other entries of `values`, and whether they are read at once.
VALUES = [
    (b"{}", True),
    (b'{"RSI(14)":55}', True),
    (b'{"RSI(14)":-0.25,"EMA(12)":1e-5,"":null,"{}":null}', True),
    (b'{"%s":1.5}' % (510 * b"x"), True),
    (b'{"%s":1.5}' % (511 * b"x"), False),
    (b'{"RSI(14)":55.5,"EMA(12)":null,"RSI(14)":1.5}', False),
    (b'{"RSI(14)":55.5,"RSI(14)":null}', False),
    (b'{"RSI(14)":55.5,"\xc3\xa4":1.5}', False),
    (b'{"RSI(14)":55.5,"\xff":1.5}', False),
    (b'{"RSI(14)":55.5,"\\u0041":1.5}', False),
    (b'{"RSI(14)":55.5,"a\\"b":1.5}', False),
    (b'{"RSI(14)":9007199254740993}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":1e999}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":NaN}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":true}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":"1"}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":{}}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":}', False),
    (b'{"RSI(14)":55.5,"EMA(12)"}', False),
    (b'{"RSI(14)":55.5,"EMA(12)"=1.5}', False),
    (b'{"RSI(14)":55.5,5:1.5}', False),
    (b'{"RSI(14)":55.5,}', False),
    (b'{"RSI(14)":55.5;"EMA(12)":1.5}', False),
    (b'{"RSI(14)":55.5, "EMA(12)":1.5}', False),
    (b'{"RSI(14)":55.5,"EMA(12)":1.5', False),
    (b'{"RSI(14)":55.5]', False),
    (b'{"RSI(14)":55.5},"more":1', False),
    (b"[]", False),
    (b"null", False),
]


@pytest.mark.parametrize(("other", "at_once"), VALUES)
def test_entries_of_what_is_left_are_no_other_records(other: bytes, at_once: bool) -> None:
    entries = b'{"RSI(14)":1.25,"EMA(12)":null}'
    made = [
        encoder.encode(IndicatorsRecord(symbol, "1m", FRIDAY, 0, True, {})) for symbol in "ABCD"
    ]
    values = [
        each.replace(b'"values":{}', b'"values":' + part)
        for each, part in zip(made, [entries, other, b"{}", entries], strict=True)
    ]
    assert_same("indicators", values)
    assert_same("indicators", [values[1], *values])
    columns, rest = quick_columns(IndicatorsRecord, schema_of("indicators"), values)
    assert rest.tolist() == ([] if at_once else [1])
    expected = [("RSI(14)", 1.25), ("EMA(12)", None)]
    assert columns[0].to_pylist() == [*("ABCD" if at_once else "ACD")]
    assert columns[-1].to_pylist()[0] == columns[-1].to_pylist()[-1] == expected


def test_no_entry_is_null_where_the_contract_has_none() -> None:
    anomaly = AnomalyRecord("A", "1m", FRIDAY, 0, "s", 1.5, 1.0, True, "", (), {"z": 2.5}, False)
    good = encoder.encode(anomaly)
    values = [good, good.replace(b'"z":2.5', b'"y":2.5,"z":null'), good]
    assert_same("anomalies", values)
    assert decoded("anomalies", values).raw.column("value").to_pylist() == [values[1]]
    # What lacks stands behind the entries.
    assert_same("anomalies", [good, good.replace(b',"learned":false', b""), good])


def test_thousands_of_names_are_read_at_once() -> None:
    records = [
        IndicatorsRecord(
            f"S{row % 7}", "1m", FRIDAY + row, 0, True,
            {f"N{row * step % 5_000}": None if step % 9 == 0 else row / step for step in range(40)},
        )
        for row in range(500)
    ]  # fmt: skip
    values = [encoder.encode(each) for each in records]
    assert_same("indicators", values)
    columns, rest = quick_columns(IndicatorsRecord, schema_of("indicators"), values)
    assert columns[-1].to_pylist() == [list(each.values.items()) for each in records]
    assert not len(rest)


def test_records_with_structures_or_mixed_mappings_go_the_exact_way() -> None:
    known = {topic for topic, layout in LAYOUTS.items() if form_of(layout.record) is not None}
    assert sorted(known) == AT_ONCE
    for topic in known:
        schema = schema_of(topic)
        empty, rest = quick_columns(LAYOUTS[topic].record, schema, [b"{}", None])
        assert [column.type for column in empty] == schema.types[: len(empty)]
        assert rest.tolist() == [0, 1]


def test_a_number_that_no_column_holds_is_raw_and_no_other_record_is() -> None:
    good = bar("A", FRIDAY)
    huge = good.replace(b'"trades":3', b'"trades":9223372036854775808')
    found = decoded("bars", [good, huge, good])
    assert found.rows.column("log_offset").to_pylist() == [0, 2]
    assert found.raw.to_pylist() == [
        {
            "source_topic": "bars",
            "value": huge,
            "log_partition": 0,
            "log_offset": 1,
            "append_time": FRIDAY + 1,
        }
    ]


@pytest.mark.parametrize("topic", sorted(LAYOUTS))
def test_every_topic_has_columns_that_parquet_gives_back(topic: str) -> None:
    layout, schema = LAYOUTS[topic], schema_of(topic)
    assert {layout.time, *layout.sorting} <= set(schema.names)
    assert schema.field(layout.time).type == pa.int64()
    assert not schema.field(layout.time).nullable
    assert "revision" in schema.names or not layout.identity
    assert read_parquet(parquet_bytes(schema.empty_table())).schema == schema


def test_a_topic_without_columns_is_raw() -> None:
    found = decoded("notifications", [b"{}", None])
    assert found.rows.num_rows == 0
    assert found.raw.column("value").to_pylist() == [b"{}", None]
    assert found.raw_times.tolist() == [FRIDAY, FRIDAY + 1]


def test_values_by_name_come_as_maps() -> None:
    indicators = IndicatorsRecord("A", "1m", FRIDAY, 0, True, {"RSI(14)": 55.5, "EMA(12)": None})
    prediction = PredictionRecord(
        symbol="A",
        interval="1m",
        start=FRIDAY,
        revision=0,
        exact=True,
        model="returns",
        horizon=5,
        alias="champion",
        version=3,
        prediction=0.5,
        low=None,
        high=None,
        others={"challenger": AlternativeRecord(4, 0.25, None, None)},
    )
    event = QualityEventRecord(
        symbol="A",
        kind="gap",
        event_time=FRIDAY,
        offset=1,
        session=20261120,
        severity="info",
        value=None,
        limit=None,
        details={"text": "a", "number": 1, "none": None},
        input="ticks",
    )

    def only(topic: str, record: msgspec.Struct, column: str) -> object:
        table = decoded(topic, [encoder.encode(record)]).rows
        return read_parquet(parquet_bytes(table)).column(column).to_pylist()

    assert only("indicators", indicators, "values") == [[("RSI(14)", 55.5), ("EMA(12)", None)]]
    expected = {"version": 4, "prediction": 0.25, "low": None, "high": None}
    assert only("predictions", prediction, "others") == [[("challenger", expected)]]
    assert only("quality", event, "details") == [[("text", "a"), ("number", "1"), ("none", None)]]
