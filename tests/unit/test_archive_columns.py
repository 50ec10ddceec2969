"""Records as columns: exact, whichever way they come."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from app.archive import bulk, columns
from app.archive.columns import Decoded, decode, parquet_bytes, read_parquet, schema_of
from app.archive.layout import LAYOUTS
from app.contracts.predictions import AlternativeRecord, PredictionRecord
from app.contracts.wire import BarInput, BarRecord, IndicatorsRecord, bar_decoder, encoder
from tables.quality.events import QualityEventRecord
from tests.unit.archive_feeding import FRIDAY, bar


def decoded(topic: str, values: Sequence[bytes | None]) -> Decoded:
    offsets = np.arange(len(values), dtype=np.int64)
    return decode(topic, 0, values, offsets, FRIDAY + offsets)


def random_bar(generator: random.Random) -> bytes:
    def price() -> float:
        return generator.choice([generator.gauss(0, 1e3), generator.gauss(0, 1) * 1e-7, -0.0, 1e17])

    record = BarRecord(
        symbol=generator.choice(["A", "BRK.B", "ÄÖ", "BTC/USD"]),
        interval="1m",
        start=generator.randrange(2**62),
        open=price(),
        high=price(),
        low=price(),
        close=price(),
        volume=abs(price()),
        vwap=generator.choice([None, price()]),
        trades=generator.randrange(2**53),
        revision=generator.randrange(3),
        is_final=generator.random() < 0.5,
        filled=False,
        sources=generator.choice([(), ("sip",), ("a", "b")]),
    )
    return encoder.encode(record)


#: What DuckDB takes and the contract does not, or writes otherwise; made of a good bar.
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


#: Topics whose records are flat, of the engine's own encoding, and without bounds.
AT_ONCE = [
    "bars",
    "quotes.bars",
    "activity",
    "pairs",
    "portfolio.positions",
    "portfolio.values",
    "portfolio.limits",
    "predictions.outcomes",
]


def test_many_records_at_once_give_the_columns_of_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "FEWEST", 1)
    monkeypatch.setattr(bulk, "CHUNK", 100)
    generator = random.Random(1)
    values = [random_bar(generator) for _ in range(3_000)]
    schema = schema_of("bars")
    at_once = bulk.bulk_columns(BarRecord, schema, values)
    assert at_once is not None
    one_by_one = columns._columns(schema, [bar_decoder.decode(each) for each in values])
    assert one_by_one is not None
    for fast, exact in zip(at_once, one_by_one, strict=True):
        assert fast.type == exact.type
        assert fast.combine_chunks().to_pylist() == exact.to_pylist()
    assert decoded("bars", values).rows.schema == schema


@pytest.mark.parametrize(("old", "new"), ODD)
def test_what_the_contract_has_not_goes_the_exact_way(
    old: bytes, new: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = bar("A", FRIDAY)
    assert old in good
    odd = good.replace(old, new)
    exact = decoded("bars", [good, odd, good])
    monkeypatch.setattr(bulk, "FEWEST", 1)
    assert bulk.bulk_columns(BarRecord, schema_of("bars"), [good, good]) is not None
    assert bulk.bulk_columns(BarRecord, schema_of("bars"), [good, odd, good]) is None
    found = decoded("bars", [good, odd, good])
    assert found.rows.equals(exact.rows)
    assert found.raw.equals(exact.raw)
    assert found.rows.num_rows + found.raw.num_rows == 3


def test_records_with_bounds_tags_or_maps_go_the_exact_way() -> None:
    ways = {topic: bulk._form(layout.record) is not None for topic, layout in LAYOUTS.items()}
    assert [topic for topic, at_once in ways.items() if at_once] == AT_ONCE
    assert bulk._form(BarInput) is None


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
