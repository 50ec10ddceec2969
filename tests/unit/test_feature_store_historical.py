"""Rows of the past: equal to a naive computation for each row, and to what was served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import BarRecord
from models.predicting.building import LiveSeries, build
from models.predicting.features_plan import Feature
from models.predicting.features_returns import Returns
from models.predicting.featuresets import FeatureRow, FeatureSet
from models.predicting.lookahead import made_up_bars
from models.store.historical import NEVER, Historical, historical_features
from models.store.online import InProcessRows, TableSource
from tables.indicators.base import MINUTE
from tests.unit.feature_sets import CLOSE, Small, bar


@dataclass(frozen=True)
class Archive:
    """Records in the order of the log, when each was known, and what is asked for."""

    bars: list[BarRecord]
    known: list[int]
    symbols: list[str]
    times: list[int]


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    """Minute bars of two symbols with gaps, corrections, emptied bars and late records."""
    records: list[tuple[int, BarRecord]] = []
    for symbol in ("AAA", "BBB"):
        minute = 0
        for _ in range(draw(st.integers(0, 12))):
            minute += draw(st.sampled_from([1, 1, 1, 2, 5]))
            known = (minute + 1) * MINUTE + draw(st.sampled_from([0, 0, 7, MINUTE // 2]))
            for revision in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
                emptied = revision > 0 and draw(st.integers(0, 4)) == 0
                close = draw(st.floats(1.0, 100.0))
                records.append(
                    (
                        known,
                        bar(
                            minute,
                            close,
                            symbol,
                            revision=revision,
                            filled=emptied,
                            trades=0 if emptied else 1,
                        ),
                    )
                )
                known += draw(st.sampled_from([0, 1, MINUTE // 3, 2 * MINUTE + 1]))
    records.sort(key=lambda each: each[0])
    count = draw(st.integers(1, 15))
    entity = st.tuples(
        st.sampled_from(["AAA", "BBB", "CCC"]),
        st.integers(0, 40).flatmap(
            lambda minute: st.sampled_from([minute * MINUTE + each for each in (-1, 0, 1, 7)])
        ),
    )
    entities = draw(st.lists(entity, min_size=count, max_size=count))
    return Archive(
        [each for _, each in records],
        [known for known, _ in records],
        [symbol for symbol, _ in entities],
        [time for _, time in entities],
    )


def highest(bars: Sequence[BarRecord]) -> list[BarRecord]:
    """Each start once, in its highest revision, by starts, without emptied ones."""
    kept: dict[int, BarRecord] = {}
    for each in bars:
        if each.start not in kept or kept[each.start].revision < each.revision:
            kept[each.start] = each
    return [kept[start] for start in sorted(kept) if kept[start].trades]


def naive(bars: Sequence[BarRecord], kind: type[FeatureSet]) -> tuple[FeatureRow | None, int]:
    """The row after bars and nothing else, and the start of the newest bar."""
    series, row = LiveSeries(kind), None
    for each in bars:
        row = series.take(each)
    start = series.features.start
    return row, int(NEVER) if start is None else start


def same(found: Historical, place: int, row: FeatureRow | None) -> bool:
    """Whether a row is this one as float32, bit for bit."""
    if row is None:
        return not found.there[place] and bool(np.isnan(found.features[place]).all())
    expected = np.array(row, dtype=np.float32)
    return bool(found.there[place]) and found.features[place].tobytes() == expected.tobytes()


@settings(max_examples=60, deadline=None)
@given(archives())
def test_each_row_is_what_its_past_alone_gives(archive: Archive) -> None:
    found = historical_features(archive.symbols, archive.times, archive.bars, Small)
    for place, (symbol, time) in enumerate(zip(archive.symbols, archive.times, strict=True)):
        past = [
            each for each in archive.bars if each.symbol == symbol and each.start + MINUTE <= time
        ]
        row, start = naive(highest(past), Small)
        assert same(found, place, row)
        if start == NEVER:
            assert (found.feature_time[place], found.age[place]) == (NEVER, -1)
        else:
            assert found.feature_time[place] == start + MINUTE
            assert found.age[place] == time - start - MINUTE
            assert found.age[place] >= 0


@settings(max_examples=60, deadline=None)
@given(archives())
def test_with_known_times_each_row_is_what_was_known_and_what_was_served(archive: Archive) -> None:
    found = historical_features(
        archive.symbols, archive.times, archive.bars, Small, known=archive.known
    )
    for place, (symbol, time) in enumerate(zip(archive.symbols, archive.times, strict=True)):
        known = [
            each
            for each, when in zip(archive.bars, archive.known, strict=True)
            if each.symbol == symbol and when <= time
        ]
        assert same(found, place, naive(known, Small)[0])
        # And the in-process online store, fed in the order of the log up to then.
        rows = InProcessRows(Small)
        for each, when in zip(archive.bars, archive.known, strict=True):
            if when <= time:
                rows.take(each)
        (served,) = TableSource(Small, rows).latest([symbol], "1m", now=time).rows
        assert same(found, place, served.values if served.status == "served" else None)
        assert served.exact == found.exact[place]
        assert (served.age is None and found.age[place] == -1) or served.age == found.age[place]


def test_rows_of_training_are_rows_of_the_past() -> None:
    bars = made_up_bars(3, 160)
    rows = build(bars, Returns, 2)
    found = historical_features(
        [rows.symbols[each] for each in rows.symbol], rows.time, bars, Returns
    )
    assert len(rows) > 50
    assert found.there.all()
    assert not found.age.any()
    assert found.features.tobytes() == rows.features.tobytes()
    assert found.feature_set == rows.feature_set


def test_no_later_bar_changes_a_row() -> None:
    bars = [bar(minute, 10.0 + minute % 3) for minute in range(20)]
    times = [10 * MINUTE, 12 * MINUTE]
    symbols = ["AAA", "AAA"]
    found = historical_features(symbols, times, bars, Small)
    wild = [each if each.start < 12 * MINUTE else bar(each.start // MINUTE, 1e6) for each in bars]
    other = historical_features(symbols, times, wild[:15], Small)
    assert found.features.tobytes() == other.features.tobytes()


def test_a_set_that_would_look_ahead_is_told_of_nothing() -> None:
    class Cheating(Small):
        NAME = "cheating"
        future: float = 0.0

        @classmethod
        def declare(cls) -> Sequence[Feature]:
            return (Feature("close", CLOSE),)

        def prepare(self, bars: Sequence[BarRecord]) -> None:
            assert not bars

    found = historical_features(
        ["AAA"], [3 * MINUTE], [bar(n, 1.0 + n) for n in range(9)], Cheating
    )
    assert found.features.tolist() == [[3.0]]


def test_a_correction_counts_from_when_it_was_known() -> None:
    bars = [bar(n, 10.0 + n) for n in range(6)] + [bar(5, 20.0, revision=1)]
    known = [(n + 1) * MINUTE for n in range(6)] + [6 * MINUTE + 30]
    times = [6 * MINUTE, 6 * MINUTE + 29, 6 * MINUTE + 30]
    told = historical_features(["AAA"] * 3, times, bars, Small, known=known)
    expected = np.array([15 / 14 - 1, 15 / 14 - 1, 20 / 14 - 1], np.float32)
    assert told.features[:, 0].tolist() == expected.tolist()
    # An archive that does not tell knows the correction at once.
    untold = historical_features(["AAA"] * 3, times, bars, Small)
    assert untold.features[:, 0].tolist() == [told.features[2, 0]] * 3


def test_a_slow_clock_elsewhere_makes_no_bar_known_before_its_end() -> None:
    bars = [bar(n, 10.0 + n) for n in range(6)]
    found = historical_features(
        ["AAA", "AAA"], [6 * MINUTE - 1, 6 * MINUTE], bars, Small, known=[0] * 6
    )
    assert found.feature_time.tolist() == [5 * MINUTE, 6 * MINUTE]


def test_older_features_than_allowed_are_none_and_their_age_is_told() -> None:
    bars = [bar(n, 10.0 + n) for n in range(6)]
    times = [6 * MINUTE + each for each in (0, 90, 91)]
    found = historical_features(["AAA"] * 3, times, bars, Small, max_age=90)
    assert found.there.tolist() == [True, True, False]
    assert np.isnan(found.features[2]).all()
    assert found.age.tolist() == [0, 90, 91]


def test_a_delay_serves_each_bar_so_much_later() -> None:
    bars = [bar(n, 10.0 + n) for n in range(6)]
    found = historical_features(
        ["AAA", "AAA"], [6 * MINUTE + 199, 6 * MINUTE + 200], bars, Small, delay=200
    )
    assert found.feature_time.tolist() == [5 * MINUTE, 6 * MINUTE]
    assert found.age.tolist() == [MINUTE + 199, 200]


def test_what_cannot_be_joined_is_refused() -> None:
    bars = [bar(0, 1.0)]
    with pytest.raises(ValueError, match="as many"):
        historical_features(["AAA"], [1, 2], bars, Small)
    with pytest.raises(ValueError, match="0 or more"):
        historical_features(["AAA"], [1], bars, Small, max_age=-1)
    with pytest.raises(ValueError, match="one of both"):
        historical_features(["AAA"], [1], bars, Small, delay=1, known=[1])
    with pytest.raises(ValueError, match="one interval"):
        historical_features(["AAA"], [1], [*bars, bar(1, 1.0, interval="5m")], Small, known=[1, 1])
    with pytest.raises(ValueError, match="two bars"):
        historical_features(["AAA"], [1], [*bars, bar(0, 2.0)], Small)


def test_nothing_asked_and_no_bars_are_no_fault() -> None:
    assert len(historical_features([], [], [bar(0, 1.0)], Small)) == 0
    found = historical_features(["AAA"], [5], [], Small)
    assert (found.there.tolist(), found.age.tolist()) == ([False], [-1])
