"""Which record is the newest of its key: the same however the log is cut, never a dead one."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sinks.newest import SUBJECTS, Newest, NewestReader, key_of
from app.sinks.points import Inputs
from app.sinks.redis_store import order_text
from tests.unit.sink_batches import (
    FRIDAY,
    MINUTE,
    anomaly,
    bar,
    batch,
    cut,
    indicators,
    prediction,
    quote,
    trade,
)

SECOND = 1_000_000_000
INPUTS = Inputs(partition=0, partitions=1, earliest_event_time=0, max_ahead=10 * SECOND)
#: Bars of two symbols and three minutes, with revisions, and records that are none.
BARS = st.lists(
    st.one_of(
        st.builds(bar, st.sampled_from(("A", "B:C")), st.integers(0, 2), st.integers(0, 2)),
        st.sampled_from((b'{"type":"alias"}', b"not json", None)),
    ),
    min_size=1,
    max_size=20,
)


def read(topic: str, *values: bytes | None, inputs: Inputs | None = None) -> Newest:
    return NewestReader(topic, "p:d", inputs).take(batch(values, topic=topic))


@pytest.mark.parametrize(
    ("topic", "value", "key", "order"),
    [
        ("ticks", trade("A", 7), b"p:d:ticks:A", (FRIDAY + 7, 0)),
        ("quotes", quote("A", 7), b"p:d:quotes:A", (FRIDAY + 7, 0)),
        ("bars", bar("BTC/USD", 1, 2), b"p:d:bars:BTC/USD:1m", (FRIDAY + MINUTE, 2)),
        ("quotes.bars", bar("A", 1, 2), b"p:d:quotes.bars:A:1m", (FRIDAY + MINUTE, 2)),
        ("indicators", indicators("A", 1, 3), b"p:d:indicators:A:1m", (FRIDAY + MINUTE, 3)),
        ("predictions", prediction("A", 1, "m"), b"p:d:predictions:A:1m:m", (FRIDAY + MINUTE, 0)),
        ("anomalies", anomaly("A", 1, "bars"), b"p:d:anomalies:A:1m:bars", (FRIDAY + MINUTE, 0)),
    ],
)
def test_a_record_is_the_value_of_its_key(
    topic: str, value: bytes, key: bytes, order: tuple[int, int]
) -> None:
    found = read(topic, value)
    assert found.entries == {key: (order, value)}
    assert found.next == 1


def test_every_subject_is_tested_and_others_are_refused() -> None:
    assert set(SUBJECTS) == {
        *("ticks", "quotes", "bars", "quotes.bars", "indicators", "predictions", "anomalies"),
    }
    with pytest.raises(ValueError, match="no latest values of 'pairs' are kept"):
        NewestReader("pairs", "p:d")


@given(log=BARS, sizes=st.lists(st.integers(1, 7), max_size=8))
def test_the_newest_is_the_same_however_the_log_is_cut(
    log: list[bytes | None], sizes: list[int]
) -> None:
    reader, found = NewestReader("bars", "p:d"), Newest(0)
    for each in cut(log, sizes):
        found.merge(reader.take(each))
    expected: dict[bytes, tuple[tuple[int, int], bytes]] = {}
    bars = [value for value in log if value not in (None, b"not json", b'{"type":"alias"}')]
    for value in bars:
        assert value is not None
        record = json.loads(value)
        key = key_of("p:d", "bars", (record["symbol"], record["interval"]))
        order = (record["start"], record["revision"])
        if key not in expected or expected[key][0] <= order:
            expected[key] = (order, value)
    assert found.entries == expected
    assert found.next == len(log)
    assert found.passed == Counter(
        superseded=len(bars) - len(expected),
        control=log.count(b'{"type":"alias"}'),
        malformed=log.count(b"not json") + log.count(None),
    )


def test_of_trades_that_share_a_time_the_one_behind_in_the_log_holds() -> None:
    same = [trade("A", 5, price) for price in (3.0, 1.0, 2.0)]
    late = trade("A", 4, 9.0)
    found = read("ticks", *same, late)
    assert found.entries == {b"p:d:ticks:A": ((FRIDAY + 5, 2), same[2])}
    assert found.passed == Counter(superseded=3)


def test_what_the_agents_refuse_hides_no_trade() -> None:
    good = trade("A", 0)
    dead = [
        trade("A", 60 * SECOND),
        trade("A", 1, price=1e12, size=1e12),
        trade("-bad", 1),
        b'{"symbol":"A"}',
        None,
    ]
    controls = [b'{"type":"clock","event_time":5}', b'{"type":"flush"}']
    found = read("ticks", good, *dead, *controls, inputs=INPUTS)
    assert found.entries == {b"p:d:ticks:A": ((FRIDAY, 0), good)}
    assert found.passed == Counter(dead=len(dead), control=len(controls))


def test_records_of_another_partition_are_dead() -> None:
    of_two = [Inputs(partition, 2, 0, 10 * SECOND) for partition in (0, 1)]
    found = [read("ticks", trade("A", 0), inputs=each) for each in of_two]
    assert sorted(len(each.entries) for each in found) == [0, 1]


@given(
    st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)),
    st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)),
)
def test_orders_as_text_compare_as_the_orders_do(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    texts = order_text(first), order_text(second)
    assert (texts[0] < texts[1]) == (first < second)
    assert len(texts[0]) == len(texts[1])


def test_numbers_beyond_64_bits_are_malformed() -> None:
    huge = bar("A", 0).replace(str(FRIDAY).encode(), b"1" * 30)
    negative = bar("A", 0).replace(str(FRIDAY).encode(), b"-1")
    assert read("bars", huge, negative).passed == Counter(malformed=2)
