"""The log alone decides: any split into batches, any restart from rows, the same outputs."""

import json
import random
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import ClockRecord, FlushRecord, HistoricalRecord, QuoteRecord
from tables.learning import StateVersionError
from tables.quality import QualityConfiguration
from tables.quality.outliers import OutlierDetector
from tables.quality.statistics import RollingStatistics
from tests.unit.quality_records import (
    SECOND,
    STOCKS,
    Record,
    at,
    feed,
    partition,
    quotes_of,
    walk,
)

CONFIGURATION = QualityConfiguration(
    outlier_window=21, outlier_warm_up=9, outlier_run=4, duplicate_window=7, consecutive=("b",)
)


def faulty(seed: int, quotes: bool = False) -> list[Record]:
    """Three symbols from two sources over three sessions, with every fault there is."""
    chance = random.Random(seed)
    records: list[Record] = [HistoricalRecord()] if seed % 2 else []
    for day in ("2026-11-25", "2026-11-27", "2026-11-30"):
        trades = []
        for place, symbol in enumerate(("A", "B", "C")):
            start = at(f"{day}T12:{50 + place}")
            trades += walk(
                60, start, seed=seed + place, symbol=symbol, source=chance.choice(("a", "b"))
            )
        trades.sort(key=lambda each: each.event_time + int(chance.random() * SECOND))
        for trade in trades:
            roll = chance.random()
            if roll < 0.03:
                continue
            if roll < 0.06:
                trade = msgspec.structs.replace(trade, price=trade.price * 1.5, source="a")
            elif roll < 0.09:
                records.append(trade)
            elif roll < 0.12:
                trade = msgspec.structs.replace(trade, trade_id=None, venue="X")
            elif roll < 0.13:
                records.append(ClockRecord(trade.event_time + 40 * SECOND))
            elif roll < 0.14:
                records.append(FlushRecord())
            records.append(trade)
    records.append(ClockRecord(at("2026-12-01T12:00")))
    if not quotes:
        return records
    made: list[Record] = []
    for record in records:
        if isinstance(record, ClockRecord | FlushRecord | HistoricalRecord):
            made.append(record)
            continue
        quote = quotes_of([record])[0]  # type: ignore[list-item]
        crossed = chance.random() < 0.1
        made.append(msgspec.structs.replace(quote, bid=quote.ask + 1) if crossed else quote)
    return made


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.lists(st.floats(0, 1), max_size=6))
def test_restarts_from_rows_change_nothing(seed: int, quotes: bool, shares: list[float]) -> None:
    records = faulty(seed, quotes)
    whole = partition(records, STOCKS, CONFIGURATION)
    expected_flags = feed(whole, records)
    expected = [msgspec.json.encode(each) for each in whole.take_outputs()]
    assert expected

    cuts = sorted({int(share * len(records)) for share in shares} | {0, len(records)})
    current = partition(records, STOCKS, CONFIGURATION)
    flags, outputs = [], []
    kept: dict[str, list[object]] = {}
    for begin, end in pairwise(cuts):
        flags += feed(current, records[begin:end], begin)
        outputs += [msgspec.json.encode(each) for each in current.take_outputs()]
        # What a checkpoint writes: changed rows over those before, through JSON.
        kept.update(dict(current.take_changed()))
        stored = json.loads(json.dumps([current.row(), sorted(kept.items())], allow_nan=False))
        current = partition(records, STOCKS, CONFIGURATION)
        current.restore(stored[0], stored[1])
    assert flags == expected_flags
    assert outputs == expected
    assert json.loads(json.dumps(current.rows())) == json.loads(json.dumps(whole.rows()))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 500))
def test_later_records_change_no_earlier_output(seed: int, length: int) -> None:
    records = faulty(seed)
    whole = partition(records, STOCKS, CONFIGURATION)
    feed(whole, records)
    part = partition(records, STOCKS, CONFIGURATION)
    feed(part, records[:length])
    found = part.take_outputs()
    assert whole.take_outputs()[: len(found)] == found


def test_an_event_is_named_by_symbol_kind_and_offset() -> None:
    for seed in range(30):
        for quotes in (False, True):
            records = faulty(seed, quotes)
            quality = partition(records, STOCKS, CONFIGURATION)
            feed(quality, records)
            names = [
                (each.symbol, each.kind, each.offset)
                for each in quality.take_outputs()
                if hasattr(each, "kind")
            ]
            assert len(names) == len(set(names))


def test_the_rows_are_bounded() -> None:
    records = [record for seed in range(20) for record in faulty(seed)]
    quality = partition(records, STOCKS, CONFIGURATION)
    feed(quality, records)
    assert max(len(json.dumps(row)) for _, row in quality.rows()) < 2500


def test_a_row_of_another_version_or_window_is_refused() -> None:
    records = walk(50, at("2026-11-20T12:00"))
    quality = partition(records, STOCKS)
    feed(quality, records)
    rows = quality.rows()
    with pytest.raises(StateVersionError, match="window"):
        partition(records, STOCKS, CONFIGURATION).restore(quality.row(), rows)
    rows[0][1][0] = 99
    with pytest.raises(StateVersionError, match="version 99"):
        partition(records, STOCKS).restore(quality.row(), rows)
    with pytest.raises(StateVersionError, match="version 7"):
        partition(records, STOCKS).restore([7, 0, False, []], [])


def test_nothing_that_is_not_a_number_leaves() -> None:
    quotes: list[QuoteRecord] = [
        QuoteRecord("A", -5.0, 0.0, at("2026-11-20T12:00") + place) for place in range(100)
    ]
    prices = [1e12, 1e-300, -1e12, -0.0, 5.0, 1e-310, 0.0]
    quotes += [
        QuoteRecord(
            "A", price, price, at("2026-11-20T12:00") + 6 * SECOND * place, source=f"s{place % 2}"
        )
        for place, price in enumerate(prices * 20)
    ]
    quality = partition(quotes)
    feed(quality, [*quotes, FlushRecord()])
    outputs = quality.take_outputs()
    assert {getattr(each, "kind", None) for each in outputs} >= {"disagreement", "outlier"}
    for output in outputs:
        json.dumps(msgspec.to_builtins(output), allow_nan=False)
    json.dumps(quality.rows(), allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=120),
    st.integers(2, 30),
)
def test_rolling_statistics_are_numpys(values: list[float], window: int) -> None:
    statistics = RollingStatistics(window, 2)
    for end in range(1, len(values) + 1):
        statistics.update(values[end - 1])
        part = np.array(values[max(0, end - window) : end])
        found = statistics.value
        if len(part) < 2:
            assert found is None
            continue
        assert found is not None
        # Differences to an anchor that may be as old as a window.
        scale = max(abs(value) for value in values[max(0, end - 2 * window) : end])
        assert found.median == pytest.approx(float(np.median(part)), abs=1e-15 * scale)
        assert found.mean == pytest.approx(float(part.mean()), abs=1e-12 * scale)
        assert found.deviation == pytest.approx(float(part.std()), abs=1e-7 * scale)


def test_rolling_statistics_stay_exact_over_a_million_values() -> None:
    statistics = RollingStatistics(61, 31)
    values = RollingStatistics.sample(3, 1_000_000)
    for value in values:
        statistics.update(value)
    found = statistics.value
    assert found is not None
    part = np.array(values[-61:])
    assert found.mean == pytest.approx(float(part.mean()), rel=1e-13)
    assert found.deviation == pytest.approx(float(part.std()), rel=1e-9)


def test_a_price_is_judged_by_those_before_it() -> None:
    detector = OutlierDetector(11, 5)
    for value in (100.0, 100.01, 100.0, 100.01, 100.0):
        detector.update(value)
        assert detector.value is None or not detector.value.tests
    detector.update(200.0)
    verdict = detector.value
    assert verdict is not None
    assert (verdict.tests, verdict.median) == (3, 100.0)
    # Learned at the limit: the mean moved by less than a hundredth of the distance.
    centre = detector.statistics.centre()
    assert centre is not None
    assert centre[0] < 100.1
