"""Gaps, stale feeds and completeness are of open time: nights and weekends count nothing."""

import msgspec
import pytest

from app.contracts.wire import ClockRecord, FlushRecord, TradeRecord
from tables.markets import Instrument, Instruments
from tables.quality import QualityConfiguration, QualityEvent, QualitySummary
from tests.unit.quality_records import CRYPTO, SECOND, STOCKS, at, feed, partition, run, walk

HOUR = 3600 * SECOND
ANY_GAP = QualityConfiguration(gap_factor=0.0)


def trade(time: int, symbol: str = "SPY") -> TradeRecord:
    return TradeRecord(symbol, 100.0, 1.0, time)


def gaps(events: list[QualityEvent]) -> list[tuple[int, float | None]]:
    return [(event.offset, event.value) for event in events if event.kind == "gap"]


@pytest.mark.parametrize(
    ("last", "following", "length"),
    [
        # Over a night, a weekend, a holiday with its half day, the changes of clocks.
        ("2026-11-18T15:59:50", "2026-11-19T09:30:05", 15 * SECOND),
        ("2026-11-20T15:59:50", "2026-11-23T09:30:05", 15 * SECOND),
        ("2026-11-25T15:59:50", "2026-11-27T09:30:05", 15 * SECOND),
        ("2026-11-27T12:59:50", "2026-11-30T09:30:05", 15 * SECOND),
        ("2026-11-27T12:00:00", "2026-11-30T09:30:00", HOUR),
        ("2026-03-06T15:00:00", "2026-03-09T10:00:00", HOUR + HOUR // 2),
        ("2026-10-30T15:00:00", "2026-11-02T10:00:00", HOUR + HOUR // 2),
        # Within a session, and outside of any.
        ("2026-11-20T12:00:00", "2026-11-20T12:00:31", 31 * SECOND),
        ("2026-11-20T17:00:00", "2026-11-23T09:29:00", None),
        ("2026-11-20T15:59:58", "2026-11-23T09:30:01", None),
    ],
)
def test_a_gap_is_the_open_time_between_two_records(
    last: str, following: str, length: int | None
) -> None:
    events, _ = run([trade(at(last)), trade(at(following))], STOCKS, ANY_GAP)
    assert gaps(events) == ([] if length is None else [(1, length)])


def test_a_lunch_break_is_no_gap_and_its_market_learns_its_pace() -> None:
    tokyo = Instruments(default=Instrument(symbol="*", calendar="XTKS"))
    lunch = at("2026-11-19T21:30")  # 11:30 of the next day in Tokyo
    morning = [trade(lunch - (600 - place) * SECOND // 10) for place in range(600)]
    after = [trade(lunch + HOUR + place * SECOND // 10) for place in range(600)]
    events, (summary,) = run([*morning, *after, FlushRecord()], tokyo)
    assert events == []
    assert summary.completeness == 1.0
    lost = [*after[:100], *after[200:]]
    events, _ = run([*morning, *lost], tokyo)
    assert gaps(events) == [(700, 10 * SECOND + SECOND // 10)]


def test_crypto_has_gaps_on_a_sunday() -> None:
    sunday = at("2026-11-22T03:00")
    events, _ = run([trade(sunday), trade(sunday + 60 * SECOND)], CRYPTO, ANY_GAP)
    assert [(event.severity, event.value) for event in events] == [("critical", 60 * SECOND)]


@pytest.mark.parametrize(
    ("length", "counts", "severity"),
    [
        (499_999_999, (0, 0, 0), None),
        (500_000_000, (1, 0, 0), None),
        (5 * SECOND, (1, 1, 0), "warning"),
        (30 * SECOND, (1, 1, 1), "critical"),
    ],
)
def test_gaps_are_counted_from_each_threshold_on(
    length: int, counts: tuple[int, int, int], severity: str | None
) -> None:
    noon = at("2026-11-20T12:00")
    records = [trade(noon), trade(noon + length), FlushRecord()]
    events, (summary,) = run(records, STOCKS, ANY_GAP)
    found = summary.counts
    assert (found["gaps_500ms"], found["gaps_5s"], found["gaps_30s"]) == counts
    assert [event.severity for event in events if event.kind == "gap"] == (
        [severity] if severity else []
    )


@pytest.mark.parametrize("mean_interval", [0.01, 0.1, 1.0, 10.0])
def test_planted_gaps_are_found_at_any_pace(mean_interval: float) -> None:
    trades = walk(3000, at("2026-11-20T10:00"), mean_interval=mean_interval)
    length = max(6 * SECOND, int(45 * mean_interval * SECOND))
    shifted = [
        msgspec.structs.replace(each, event_time=each.event_time + length * (place // 500))
        for place, each in enumerate(trades)
    ]
    events, _ = run(shifted)
    assert [offset for offset, _ in gaps(events)] == [500, 1000, 1500, 2000, 2500]


def test_a_quiet_symbol_is_not_a_dead_feed() -> None:
    """Trades once a minute beside a busy symbol: neither gaps nor stale."""
    noon = at("2026-11-20T12:00")
    busy = walk(20_000, noon, symbol="SPY")
    quiet = [trade(noon + minute * 60 * SECOND, "QUIET") for minute in range(30)]
    events, _ = run(sorted([*busy, *quiet], key=lambda each: each.event_time))
    assert events == []


def test_a_feed_that_stops_is_stale_while_another_goes_on() -> None:
    noon = at("2026-11-20T12:00")
    both = [
        *walk(600, noon, symbol="DEAD"),
        *walk(2400, noon, symbol="SPY", seed=1),
    ]
    both.sort(key=lambda each: each.event_time)
    events, _ = run(both)
    (event,) = events
    last = max(each.event_time for each in both if each.symbol == "DEAD")
    assert (event.kind, event.symbol) == ("stale", "DEAD")
    assert event.event_time == last + 30 * SECOND
    first_after = next(
        offset for offset, each in enumerate(both) if each.event_time >= event.event_time
    )
    assert event.offset == first_after


def test_a_clock_record_makes_a_lone_symbol_stale_and_a_record_ends_it() -> None:
    noon = at("2026-11-20T12:00")
    trades = walk(100, noon)
    end = trades[-1].event_time
    records = [
        *trades,
        *(ClockRecord(end + seconds * SECOND) for seconds in (29, 31, 60)),
        trade(end + 61 * SECOND),
        ClockRecord(end + 92 * SECOND),
    ]
    events, _ = run(records)
    assert [(event.kind, event.offset) for event in events] == [
        ("stale", 101),
        ("gap", 103),
        ("stale", 104),
    ]


def test_nothing_is_stale_over_a_night_a_weekend_or_after_a_half_day() -> None:
    trades = walk(25_000, at("2026-11-27T12:00"), mean_interval=0.17)
    within = [each for each in trades if each.event_time < at("2026-11-27T13:00")]
    clocks = [
        ClockRecord(at("2026-11-27T13:00") + minute * 60 * SECOND)
        for minute in range(0, 68 * 60 + 30, 7)
    ]
    events, summaries = run([*within, *clocks], STOCKS)
    assert events == []
    assert [(each.session, each.completeness) for each in summaries] == [(20261127, 1.0)]
    # Half a minute into Monday's session the feed is missing.
    monday = ClockRecord(at("2026-11-30T09:30:31"))
    events, _ = run([*within, *clocks, monday], STOCKS)
    assert [(event.kind, event.event_time) for event in events] == [
        ("stale", at("2026-11-30T09:30:30") - (at("2026-11-27T13:00") - within[-1].event_time))
    ]


def test_completeness_is_the_open_time_without_unusual_gaps() -> None:
    """A day of trades each second with ten minutes lost, an hour lost at the end."""
    trades = [
        trade(at("2026-11-20T09:30") + second * SECOND)
        for second in range(int(5.5 * 3600))
        if not 3000 <= second < 3600
    ]
    end = ClockRecord(at("2026-11-21T00:00"))
    events, (summary,) = run([trade(at("2026-11-20T08:00")), *trades, end], STOCKS)
    assert (summary.method, summary.expected) == ("time", 6.5 * HOUR)
    lost = summary.expected - summary.seen
    assert lost == pytest.approx(HOUR + 600 * SECOND, abs=3 * SECOND)
    assert summary.is_final
    assert [event.kind for event in events] == ["gap", "stale", "incomplete"]
    assert events[-1].severity == "critical"


def test_a_first_day_is_judged_from_its_first_record_on() -> None:
    noon = at("2026-11-20T12:00")
    trades = [trade(noon + second * SECOND) for second in range(4 * 3600)]
    _, (summary,) = run([*trades, ClockRecord(at("2026-11-21T00:00"))], STOCKS)
    assert (summary.expected, summary.completeness) == (4 * HOUR, 1.0)


def test_a_session_without_a_record_is_told_and_in_the_end_the_symbol_is_forgotten() -> None:
    first = walk(100, at("2026-11-20T15:00"))
    clocks = [ClockRecord(at("2026-11-21T00:00") + day * 24 * HOUR) for day in range(60)]
    quality = partition(first, STOCKS)
    feed(quality, [*first, *clocks])
    summaries = [each for each in quality.take_outputs() if isinstance(each, QualitySummary)]
    missing = [each.session for each in summaries[1:]]
    # Thanksgiving and weekends have no session.
    assert missing == [20261123, 20261124, 20261125, 20261127, 20261130]
    assert {each.completeness for each in summaries[1:]} == {0.0}
    # Its next record is watched again.
    feed(quality, walk(100, at("2027-03-01T12:00"), seed=2), 200)
    feed(quality, [ClockRecord(at("2027-03-01T13:00"))], 300)
    kinds = [getattr(each, "kind", None) for each in quality.take_outputs()]
    assert kinds[-1] == "stale"


def test_a_jump_of_the_clock_by_years_is_no_endless_loop() -> None:
    trades = walk(100, at("2013-10-08T12:00"))
    quality = partition(trades)
    feed(quality, [*trades, ClockRecord(at("2026-11-20T12:00"))])
    assert len(quality.take_outputs()) < 40


def test_a_clock_far_ahead_moves_no_further_than_its_append_time() -> None:
    trades = walk(100, at("2026-11-20T12:00"))
    quality = partition(trades)
    feed(quality, trades)
    ahead = ClockRecord(trades[-1].event_time + HOUR)
    quality.take_control(ahead, 100, trades[-1].event_time)
    assert quality.clock == trades[-1].event_time + SECOND
    assert quality.take_outputs() == []
