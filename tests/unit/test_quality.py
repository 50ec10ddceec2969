"""Planted faults are found, and a clean random walk has none."""

import random
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from app.contracts.wire import ClockRecord, CorrectionRecord, FlushRecord, TradeRecord
from tables.markets import Instrument, Instruments, Split
from tables.quality import CROSSED, DUPLICATE, OUTLIER, ZERO, QualityConfiguration, QuoteQuality
from tests.unit.quality_records import (
    CRYPTO,
    MILLISECOND,
    SECOND,
    STOCKS,
    Record,
    at,
    feed,
    partition,
    quotes_of,
    run,
    walk,
)

NOON = at("2026-11-20T12:00")


def changed(record: TradeRecord, **fields: object) -> TradeRecord:
    return msgspec.structs.replace(record, **fields)


def test_a_clean_random_walk_raises_no_alarm() -> None:
    """200,000 trades of 20 walks at several paces: not one event of any kind."""
    alarms: Counter[str] = Counter()
    for seed in range(20):
        trades = walk(10_000, NOON, seed=seed, mean_interval=(0.01, 0.1, 1.0, 5.0)[seed % 4])
        events, _ = run([*trades, FlushRecord()])
        alarms.update(event.kind for event in events)
    assert alarms == {}


def test_clean_quotes_raise_no_alarm_and_are_all_clean() -> None:
    quotes = quotes_of(walk(20_000, NOON))
    quality = QuoteQuality(QualityConfiguration(), CRYPTO)
    assert set(feed(quality, quotes)) == {0}
    assert quality.take_outputs() == []


@pytest.mark.parametrize("share", [1.02, 0.98, 10.0, 0.1, 0.01])
def test_every_planted_fat_finger_is_found_and_nothing_else(share: float) -> None:
    trades = walk(20_000, NOON)
    planted = sorted(random.Random(1).sample(range(100, 20_000), 100))
    for place in planted:
        trades[place] = changed(trades[place], price=trades[place].price * share)
    quality = partition(trades)
    flags = feed(quality, trades)
    assert [place for place, flag in enumerate(flags) if flag == OUTLIER] == planted
    events = [each for each in quality.take_outputs() if getattr(each, "kind", "") == "outlier"]
    assert [event.offset for event in events] == planted  # type: ignore[union-attr]


def test_a_run_of_outliers_becomes_the_new_level() -> None:
    trades = walk(400, NOON)
    trades[200:] = [changed(each, price=each.price + 20) for each in trades[200:]]
    events, _ = run(trades)
    assert [event.offset for event in events if event.kind == "outlier"] == list(range(200, 220))
    assert [event.offset for event in events if event.kind == "level_shift"] == [219]


def test_trades_that_were_agreed_elsewhere_are_not_judged() -> None:
    trades = walk(300, NOON)
    trades[200] = changed(trades[200], price=150.0, conditions=("average_price",))
    trades[201] = changed(trades[201], price=150.0, conditions=("odd_lot",))
    events, _ = run(trades)
    assert [(event.kind, event.offset) for event in events] == [("outlier", 201)]


def test_repeated_ids_are_found_and_told_once_a_run() -> None:
    trades = walk(300, NOON)
    repeated = trades[200:250]
    quality = partition(trades)
    flags = feed(quality, [*trades[:250], *repeated, *trades[250:]])
    assert [place for place, flag in enumerate(flags) if flag] == list(range(250, 300))
    assert set(flags[250:300]) == {DUPLICATE}
    events = quality.take_outputs()
    assert [event.kind for event in events] == ["duplicate"]  # type: ignore[union-attr]


def test_an_id_of_another_venue_is_no_duplicate() -> None:
    trades = walk(10, NOON)
    quality = partition(trades)
    other = [changed(each, venue="X") for each in trades]
    assert set(feed(quality, [*trades, *other])) == {0}


def test_exact_copies_without_ids_are_counted_and_stay_clean() -> None:
    trades = [changed(each, trade_id=None) for each in walk(50, NOON)]
    doubled = [each for trade in trades for each in (trade, trade)]
    quality = partition(doubled)
    assert set(feed(quality, doubled)) == {0}
    feed(quality, [FlushRecord()], 100)
    (summary,) = quality.take_outputs()
    assert summary.counts["suspected_copies"] == 50  # type: ignore[union-attr]


def test_crossed_and_zero_quotes_are_flagged_and_locked_ones_counted() -> None:
    quotes = quotes_of(walk(300, NOON))
    for place in (100, 101, 110):
        quotes[place] = msgspec.structs.replace(quotes[place], bid=quotes[place].ask + 0.05)
    quotes[120] = msgspec.structs.replace(quotes[120], bid=0.0)
    quotes[130] = msgspec.structs.replace(quotes[130], bid=quotes[130].ask)
    quality = QuoteQuality(QualityConfiguration(), CRYPTO)
    flags = feed(quality, quotes)
    assert {place: flag for place, flag in enumerate(flags) if flag} == {
        100: CROSSED,
        101: CROSSED,
        110: CROSSED,
        120: ZERO,
    }
    feed(quality, [FlushRecord()], 300)
    *events, summary = quality.take_outputs()
    found = [(each.kind, each.offset) for each in events]  # type: ignore[union-attr]
    assert found == [("crossed", 100), ("crossed", 110), ("zero_quote", 120)]
    counts = summary.counts  # type: ignore[union-attr]
    assert (counts["crossed"], counts["zero_quotes"], counts["locked"]) == (3, 1, 1)


def test_a_wide_quote_around_the_market_is_no_outlier() -> None:
    quotes = quotes_of(walk(300, NOON))
    quotes[200] = msgspec.structs.replace(quotes[200], bid=1.0, ask=1000.0)
    quotes[201] = msgspec.structs.replace(quotes[201], bid=200.0, ask=200.5)
    quality = QuoteQuality(QualityConfiguration(), CRYPTO)
    flags = feed(quality, quotes)
    assert {place: flag for place, flag in enumerate(flags) if flag} == {201: OUTLIER}


def test_sources_that_disagree_for_long_are_told_once() -> None:
    one = walk(600, NOON, source="a", mean_interval=0.1)
    two = [
        changed(each, source="b", trade_id=None, price=each.price * (1.01 if late else 1.0))
        for each, late in zip(one, [False] * 300 + [True] * 300, strict=True)
    ]
    both = [each for pair in zip(one, two, strict=True) for each in pair]
    configuration = QualityConfiguration(outlier_floor=0.05)
    events, _ = run(both, configuration=configuration)
    assert [event.kind for event in events] == ["disagreement"]
    (event,) = events
    assert event.value == pytest.approx(0.01, rel=0.05)
    assert (event.details["low_source"], event.details["high_source"]) == ("a", "b")
    since = event.details["since"]
    assert isinstance(since, int)
    assert since == two[300].event_time
    assert 5 * SECOND <= event.event_time - since < 8 * SECOND


def test_a_short_disagreement_is_not_told() -> None:
    one = walk(100, NOON, source="a")
    spike = changed(one[50], source="b", price=one[50].price * 1.01, trade_id=None)
    calm = changed(one[51], source="b", trade_id=None)
    events, _ = run(
        [*one[:51], spike, one[51], calm, *one[52:]],
        configuration=QualityConfiguration(outlier_floor=0.05),
    )
    assert events == []


def test_missing_numbers_of_a_declared_source_are_found_and_filled() -> None:
    trades = walk(100, NOON, source="venue")
    configuration = QualityConfiguration(consecutive=("venue",))
    lost = [*trades[:40], *trades[43:]]
    events, (summary,) = run([*lost, FlushRecord()], configuration=configuration)
    assert [(event.kind, event.value) for event in events] == [
        ("sequence_gap", 3),
        ("incomplete", 0.97),
    ]
    assert (summary.method, summary.expected, summary.seen) == ("sequence", 100, 97)
    late = [*lost[:60], *trades[40:43], *lost[60:]]
    _, (summary,) = run([*late, FlushRecord()], configuration=configuration)
    assert (summary.completeness, summary.counts["sequence_filled"]) == (1.0, 3)


def test_numbers_of_an_undeclared_source_mean_nothing() -> None:
    trades = walk(100, NOON, source="venue")
    events, (summary,) = run([*trades[:40], *trades[43:], FlushRecord()])
    assert events == []
    assert summary.method == "time"


def test_numbers_may_start_again_with_the_day() -> None:
    first = walk(50, at("2026-11-19T12:00"), source="v")
    second = [changed(each, trade_id=None) for each in walk(50, NOON, source="v", seed=1)]
    events, summaries = run(
        [*first, *second, FlushRecord()], STOCKS, QualityConfiguration(consecutive=("*",))
    )
    assert [each.completeness for each in summaries] == [1.0, 1.0]
    assert [event.kind for event in events if event.kind == "sequence_gap"] == []


def test_late_and_disordered_records_are_counted_and_make_no_gap() -> None:
    trades = walk(200, NOON)
    late = changed(trades[0], event_time=NOON - 1000 * SECOND, trade_id="late", price=1.0)
    behind = changed(trades[0], event_time=trades[150].event_time, trade_id="behind")
    events, (summary,) = run([*trades, late, behind, FlushRecord()])
    assert events == []
    counts = summary.counts
    assert (counts["late"], counts["out_of_order"], counts["records"]) == (1, 1, 202)


def test_time_lags_are_percentiles_by_bucket() -> None:
    trades = walk(100, NOON)
    quality = partition(trades)
    for offset, trade in enumerate(trades):
        lag = 40 * MILLISECOND if offset < 95 else 700 * MILLISECOND
        quality.take(trade, offset, trade.event_time + lag)  # type: ignore[arg-type]
    feed(quality, [FlushRecord()], 100)
    (summary,) = quality.take_outputs()
    assert (summary.lag_p50, summary.lag_p95) == (  # type: ignore[union-attr]
        50 * MILLISECOND,
        50 * MILLISECOND,
    )
    assert summary.lag_p99 == SECOND  # type: ignore[union-attr]


def test_prices_off_the_tick_grid_and_sizes_of_zero_are_counted() -> None:
    trades = walk(50, NOON)
    trades[10] = changed(trades[10], price=100.005)
    trades[11] = changed(trades[11], size=0.0)
    events, (summary,) = run([*trades, FlushRecord()], STOCKS)
    assert events == []
    assert (summary.counts["off_tick"], summary.counts["zero_sizes"]) == (1, 1)


def test_an_overnight_move_and_a_split_are_no_outliers() -> None:
    first = walk(200, at("2026-11-19T15:00"))
    second = walk(200, at("2026-11-20T09:30"), seed=1, price=25.0)
    events, _ = run([*first, *second], STOCKS)
    assert {event.kind for event in events} == {"gap", "incomplete"}
    # Around the clock nothing says that the price may jump, but a split does.
    split = Instrument(
        symbol="SPY", splits=(Split.model_validate({"date": "2026-11-20", "ratio": 4}),)
    )
    events, _ = run([*first, *second], Instruments([split]))
    assert {event.kind for event in events} <= {"gap", "incomplete"}
    events, _ = run([*first, *second])
    assert "outlier" in {event.kind for event in events}


def test_corrections_and_bad_records_are_counted() -> None:
    trades = walk(10, NOON)
    quality = partition(trades)
    feed(quality, trades)
    feed(quality, [CorrectionRecord("cancel", "SPY", NOON), FlushRecord()], 10)
    quality.take_dead("malformed")
    (summary,) = quality.take_outputs()
    assert summary.counts["corrections"] == 1  # type: ignore[union-attr]
    assert quality.dead == {"malformed": 1}


def test_a_flush_tells_the_day_so_far_and_the_end_of_the_day_revises_it() -> None:
    trades = walk(100, NOON)
    clock = ClockRecord(at("2026-11-21T00:00"))
    records: list[Record] = [*trades[:50], FlushRecord(), *trades[50:], clock]
    _, summaries = run(records, STOCKS)
    assert [(each.revision, each.is_final, each.counts["records"]) for each in summaries] == [
        (0, False, 50),
        (1, True, 100),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"gaps": (5, 1)}, "gaps"),
        ({"gap_event": 1}, "gap_event"),
        ({"outlier_warm_up": 100}, "outlier_warm_up"),
        ({"completeness": 1.5}, "completeness"),
        ({"duplicate_window": 0}, "duplicate_window"),
        ({"stale_after": 0}, "stale_after"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(
    fields: dict[str, object], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        replace(QualityConfiguration(), **fields)  # type: ignore[arg-type]
