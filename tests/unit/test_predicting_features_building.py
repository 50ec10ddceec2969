"""Rows for training: which bars give one, with which target, and that they are the live rows."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from app.contracts.wire import BarRecord
from models.predicting.building import LiveSeries, build, build_counted, series_of
from models.predicting.features_plan import Feature
from models.predicting.features_returns import Returns
from models.predicting.features_terms import Change, Reading
from models.predicting.featuresets import FeatureSet, matrix_of
from models.predicting.lookahead import made_up_bars
from tables.indicators.base import MINUTE, sample_bars
from tables.markets import AlwaysOpen, SessionMarket, load_market

HOUR = 60 * MINUTE
NEW_YORK = ZoneInfo("America/New_York")
#: 2026-06-03 and 04, sessions of two hours from 14:00 UTC (10:00 in New York).
OPENS = (1_780_495_200_000_000_000, 1_780_495_200_000_000_000 + 24 * HOUR)
MARKET = SessionMarket(
    "SHORT",
    "America/New_York",
    [(date(2026, 6, 3 + n), [(opens, opens + 2 * HOUR)]) for n, opens in enumerate(OPENS)],
)


class Step(FeatureSet):
    """The last return alone: a row from the second bar on."""

    NAME = "step"

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (Feature("step", Change(Reading("CLOSE"), 1)),)


def bar(start: int, close: float, symbol: str = "AAA", **changes: object) -> BarRecord:
    made = BarRecord(
        symbol, "1m", start, close, close, close, close, 1.0, close, 1, 0, True, False, ()
    )
    return msgspec.structs.replace(made, **changes)


def minutes(closes: Sequence[float | None], begin: int = 0) -> list[BarRecord]:
    """Bars of one minute each; None where there is none."""
    return [
        bar(begin + number * MINUTE, close)
        for number, close in enumerate(closes)
        if close is not None
    ]


def test_a_target_is_the_return_to_the_bar_that_starts_exactly_then() -> None:
    rows = build(minutes([1.0, 2.0, 3.0, 6.0, 9.0]), Step, 2)
    assert rows.time.tolist() == [2 * MINUTE, 3 * MINUTE]
    assert rows.label_time.tolist() == [4 * MINUTE, 5 * MINUTE]
    assert rows.target.tolist() == [2.0, 2.0]
    assert rows.features[:, 0].tolist() == [1.0, 0.5]
    assert np.isnan(rows.previous[0])
    assert rows.previous[1] == 2.0
    assert (rows.names, rows.symbols, rows.interval, rows.horizon) == (("step",), ("AAA",), "1m", 2)
    assert rows.feature_set == Step.plan().label


def test_a_gap_drops_the_row_and_never_shifts_a_target() -> None:
    built = build_counted(minutes([1.0, 2.0, None, 4.0, 5.0, 10.0]), Step, 1)
    assert built.rows.time.tolist() == [4 * MINUTE, 5 * MINUTE]
    assert built.rows.target.tolist() == [0.25, 1.0]
    assert np.isnan(built.rows.previous[0])
    assert built.rows.previous[1] == 0.25
    assert built.dropped == {"warm_up": 1, "gap": 2, "price": 0, "session": 0}


def test_prices_that_are_not_above_zero_have_no_return() -> None:
    built = build_counted(minutes([1.0, 2.0, 0.0, -1.0, 5.0, 10.0]), Step, 1)
    assert built.dropped["price"] == 2
    assert built.rows.target.tolist() == [-1.0, 1.0]


def test_the_highest_revision_counts_and_an_emptied_bar_never_was() -> None:
    bars = [*minutes([1.0, 2.0, 3.0, 4.0, 5.0])]
    bars.append(bar(2 * MINUTE, 8.0, revision=2))
    bars.append(bar(2 * MINUTE, 9.0, revision=1))
    bars.append(bar(3 * MINUTE, 4.0, revision=1, filled=True, trades=0))
    random.Random(1).shuffle(bars)
    rows = build(bars, Step, 1)
    assert rows.time.tolist() == [2 * MINUTE]
    assert rows.target.tolist() == [3.0]
    assert [each.close for each in series_of(bars)["AAA"]] == [1.0, 2.0, 8.0, 5.0]
    filled = build(bars, Step, 1, fill_forward=True)
    assert len(filled) == 3


def test_no_target_lies_across_the_end_of_a_session_unless_asked() -> None:
    opens, length = OPENS[0], 120
    # From a quarter of an hour before the open to a quarter after the close.
    bars = minutes([100.0 + n for n in range(length + 30)], opens - 15 * MINUTE)
    rows = build(bars, Step, 5, market_of=lambda symbol: MARKET)
    begins = ((rows.time - MINUTE - opens) // MINUTE).tolist()
    assert begins == [*range(-14, -5), *range(0, length - 5), *range(length, length + 10)]
    # What came before is of the same session, too.
    before = ((rows.time[~np.isnan(rows.previous)] - MINUTE - opens) // MINUTE).tolist()
    assert before == [*range(-10, -5), *range(5, length - 5), *range(length + 5, length + 10)]
    across = build(bars, Step, 5, market_of=lambda symbol: MARKET, across_sessions=True)
    assert len(across) == len(bars) - 1 - 5
    assert len(build(bars, Step, 5, market_of=lambda symbol: AlwaysOpen())) == len(across)


def test_a_target_does_not_skip_a_night_even_where_bars_would_allow() -> None:
    """Hourly bars after the close and before the next open: closed all the while, two days."""
    bars = [
        bar(OPENS[0] + number * HOUR, 100.0 + number, interval="1h") for number in range(-2, 30)
    ]
    rows = build(bars, Step, 20, market_of=lambda symbol: MARKET)
    assert len(rows) == 0
    assert len(build(bars, Step, 20, across_sessions=True)) == 32 - 1 - 20


def test_rows_of_all_symbols_are_in_the_order_of_time() -> None:
    bars = made_up_bars(3, 200)
    random.Random(2).shuffle(bars)
    rows = build(bars, Returns, 3)
    assert rows.symbols == ("AAA", "BBB")
    assert (np.diff(rows.time) >= 0).all()
    ties = np.diff(rows.time) == 0
    assert ties.any()
    assert (np.diff(rows.symbol)[ties] > 0).all()
    alone = build([each for each in bars if each.symbol == "BBB"], Returns, 3)
    own = rows.take(rows.symbol == 1)
    assert own.features.tobytes() == alone.features.tobytes()
    assert own.target.tobytes() == alone.target.tobytes()


def test_rows_are_bit_for_bit_those_computed_live() -> None:
    bars = sample_bars(4, 300)
    live = LiveSeries(Returns)
    given = {each.start + MINUTE: row for each in bars if (row := live.take(each)) is not None}
    rows = build(bars, Returns, 1)
    assert len(rows) == len(given) - 1
    assert matrix_of([given[time] for time in rows.time.tolist()]).tobytes() == (
        rows.features.tobytes()
    )


def test_later_bars_change_no_row() -> None:
    bars = made_up_bars(5, 160)
    whole = build(bars, Returns, 2)
    for cut in (70, 100, 101, 159):
        until = bars[0].start + cut * MINUTE
        early = build([each for each in bars if each.start < until], Returns, 2)
        expected = whole.take(whole.label_time <= until)
        assert len(expected) == len(early) > 0
        for name in ("features", "target", "previous", "time", "symbol"):
            assert getattr(early, name).tobytes() == getattr(expected, name).tobytes(), name


def test_what_cannot_be_rows_is_refused() -> None:
    two = [bar(0, 1.0), bar(0, 2.0)]
    with pytest.raises(ValueError, match="two bars of AAA at 0, revision 0"):
        build(two, Step, 1)
    with pytest.raises(ValueError, match="bars of 1m and of 5m; expected one interval"):
        build([bar(0, 1.0), bar(0, 1.0, interval="5m")], Step, 1)
    with pytest.raises(ValueError, match="horizon is 0"):
        build([], Step, 0)


def test_no_bars_are_no_rows() -> None:
    rows = build([], Step, 1)
    assert len(rows) == 0
    assert rows.features.shape == (0, 1)
    assert len(build(minutes([1.0]), Step, 1)) == 0


@pytest.mark.realdata
def test_recorded_days_give_rows_within_their_sessions(realdata: Path) -> None:
    bars = []
    for path in sorted((realdata / "equity/minute/spy").glob("*_trade.zip")):
        midnight = datetime.strptime(path.name[:8], "%Y%m%d").replace(tzinfo=NEW_YORK)
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        for line in text.split():
            # Milliseconds of the local day; prices in ten-thousandths of a dollar.
            since, *prices, volume = map(int, line.split(","))
            start = int(midnight.timestamp()) * 1_000_000_000 + since * 1_000_000
            opened, high, low, close = (price / 10_000 for price in prices)
            bars.append(
                msgspec.structs.replace(
                    bar(start, close, "SPY", volume=float(volume)), open=opened, high=high, low=low
                )
            )
    first, last = (bars[place].start for place in (0, -1))
    market = load_market("XNYS")
    built = build_counted(bars, Returns, 5, market_of=lambda symbol: market)
    rows = built.rows
    assert len(rows) + sum(built.dropped.values()) == len(bars)
    assert built.dropped["session"] > 0
    for time, label_time in zip(rows.time.tolist(), rows.label_time.tolist(), strict=True):
        session = market.session(time - MINUTE)
        assert session == market.session(label_time - MINUTE)
        assert session is None or label_time <= session[1]
        assert first < time < label_time <= last + MINUTE
    closes = {each.start: each.close for each in bars}
    for number in range(0, len(rows), 97):
        start = int(rows.time[number]) - MINUTE
        assert rows.target[number] == closes[start + 5 * MINUTE] / closes[start] - 1
    # A fault of the columns (another day, another unit) would make large ones.
    assert np.abs(rows.target).max() < 0.02
