"""The scorers of a series and of bars: what they find, and when they speak."""

from __future__ import annotations

import json
import math
import random

import pytest

from app.contracts.wire import BarRecord, QuoteBarRecord
from models.anomalies.bars import FEATURES, Observation, observation_of
from models.anomalies.market import MarketScorer
from models.anomalies.series import SeriesScorer, interval_of
from tables.learning import StateVersionError

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND


def bars(count: int, seed: int = 1) -> list[Observation]:
    """Quiet bars of a second: a price that moves a little, some 500 shares."""
    chance, price = random.Random(seed), 100.0
    found = []
    for number in range(count):
        before, price = price, price * (1.0 + chance.gauss(0.0, 0.0001))
        volume = chance.lognormvariate(6.0, 0.5)
        found.append(
            Observation(
                number * SECOND, 0, before, max(before, price) + 0.002, min(before, price) - 0.002,
                price, math.log1p(volume), chance.randrange(5, 15), volume,
            )
        )  # fmt: skip
    return found


def scorer_after(items: list[Observation]) -> MarketScorer:
    scorer = MarketScorer(SECOND)
    for item in items:
        scorer.update(item)
    return scorer


@pytest.fixture(scope="module")
def quiet() -> list[Observation]:
    return bars(3_001)


def test_a_scorer_is_silent_until_it_is_warm(quiet: list[Observation]) -> None:
    scorer = MarketScorer(SECOND)
    ready = []
    for item in quiet[:400]:
        scorer.update(item)
        ready.append(scorer.ready)
    # The newest bar is learned with the next: 300 are learned when the 301st is scored.
    assert ready == [False] * 300 + [True] * 100


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("wick", {"high": 102.0}),
        ("return", {"close": 98.0, "low": 98.0}),
        ("size", {"size": math.log1p(1e6), "volume": 1e6}),
        ("gap", {"start": 3_120 * SECOND}),
    ],
)
def test_a_fault_is_an_anomaly_and_named(
    quiet: list[Observation], reason: str, change: dict[str, float]
) -> None:
    scorer = scorer_after(quiet[:3_000])
    assert scorer.value is not None
    assert not scorer.value.is_anomaly
    scorer.update(quiet[3_000]._replace(**change))
    assert scorer.value.is_anomaly
    assert scorer.value.reason == reason
    assert scorer.value.threshold < scorer.value.score <= 1.0


def test_a_price_that_is_stuck_is_an_anomaly(quiet: list[Observation]) -> None:
    scorer = scorer_after(quiet[:3_000])
    price, found = quiet[2_999].close, []
    for number in range(3_000, 3_120):
        scorer.update(
            quiet[0]._replace(start=number * SECOND, open=price, high=price, low=price, close=price)
        )
        assert scorer.value is not None
        if scorer.value.is_anomaly:
            found.append(scorer.value.reason)
    assert "stall" in found


def of_sizes(item: Observation, times: float) -> Observation:
    volume = times * (item.volume or 0.0)
    return item._replace(volume=volume, size=math.log1p(volume))


def reasons_of(scorer: MarketScorer, items: list[Observation]) -> list[str]:
    found = []
    for item in items:
        scorer.update(item)
        assert scorer.value is not None
        if scorer.value.is_anomaly:
            found.append(scorer.value.reason)
    return found


def test_sizes_of_a_wrong_scale_are_an_anomaly_and_as_many_more_trades_are_none_of_that_kind(
    quiet: list[Observation],
) -> None:
    scaled = [of_sizes(item, 10.0) for item in quiet[2_500:2_508]]
    assert "mean" in reasons_of(scorer_after(quiet[:2_500]), scaled)
    busy = [item._replace(trades=10 * item.trades) for item in scaled]
    assert "mean" not in reasons_of(scorer_after(quiet[:2_500]), busy)
    # One block is one trade.
    block = [of_sizes(quiet[2_500], 1_000.0), *quiet[2_501:2_508]]
    assert "mean" not in reasons_of(scorer_after(quiet[:2_500]), block)


def test_a_shift_of_sizes_that_stays_is_forgotten_when_it_ends(quiet: list[Observation]) -> None:
    scorer = scorer_after(quiet[:1_000])
    reasons_of(scorer, [of_sizes(item, 50.0) for item in quiet[1_000:1_300]])
    reasons_of(scorer, quiet[1_300:1_400])
    again = reasons_of(scorer, quiet[1_400:3_000])
    assert "mean" not in again


def test_a_price_that_is_stuck_while_many_trade_is_told_sooner(quiet: list[Observation]) -> None:
    chance, rested = random.Random(5), quiet[:1]
    for item in quiet[1:]:
        price = rested[-1].close
        if chance.random() < 0.4:
            item = item._replace(open=price, high=price, low=price, close=price)
        rested.append(item)
    price, first = rested[-1].close, {}
    for trades in (2, 14):
        scorer = scorer_after(rested)
        for number in range(200):
            volume = 50.0 * trades
            bar = Observation(
                (3_001 + number) * SECOND, 0, price, price, price, price,
                math.log1p(volume), trades, volume,
            )  # fmt: skip
            if "stall" in reasons_of(scorer, [bar]):
                first[trades] = number
                break
    assert 5 < first[14] < 0.6 * first[2]


def test_without_volumes_the_mean_of_sizes_says_nothing(quiet: list[Observation]) -> None:
    scorer = MarketScorer(SECOND)
    for item in quiet[:1_000]:
        scorer.update(item._replace(size=0.001, volume=None))
    assert scorer.value is not None
    assert scorer.value.features[FEATURES.index("mean")] == 0.0
    empty = reasons_of(scorer, [item._replace(volume=0.0) for item in quiet[1_000:1_100]])
    assert "mean" not in empty


def test_a_state_of_the_version_before_is_refused(quiet: list[Observation]) -> None:
    state = scorer_after(quiet[:400]).state()
    assert state[0] == 2
    with pytest.raises(StateVersionError, match="version 1, this code reads 2"):
        MarketScorer.from_state([1, *state[1:]], SECOND)


def test_the_newest_bar_revised_is_as_if_it_had_come_so_at_first(quiet: list[Observation]) -> None:
    straight, revised = scorer_after(quiet[:1_000]), scorer_after(quiet[:1_000])
    for item in quiet[1_000:1_200]:
        straight.update(item._replace(revision=2))
        revised.update(item._replace(close=item.close * 1.1, high=item.high * 1.1))
        revised.update(item._replace(revision=1, volume=1e9, size=math.log1p(1e9)))
        revised.update(item._replace(revision=2))
        revised.update(item._replace(revision=1, volume=1e9, size=math.log1p(1e9)))
        assert revised.value == straight.value
    assert revised.state() == straight.state()


def test_a_revision_of_an_older_bar_is_scored_counted_and_not_learned(
    quiet: list[Observation],
) -> None:
    straight, revised = scorer_after(quiet[:2_000]), scorer_after(quiet[:2_000])
    revised.update(quiet[1_500]._replace(revision=1, high=150.0))
    assert revised.value is not None
    assert revised.value.is_anomaly
    assert not revised.value.learned
    assert revised.late_revisions == 1
    for item in quiet[2_000:2_100]:
        straight.update(item)
        revised.update(item)
        assert revised.value == straight.value


def test_between_sessions_there_is_neither_a_return_nor_a_gap(quiet: list[Observation]) -> None:
    scorer = scorer_after(quiet[:3_000])
    later = quiet[3_000]._replace(
        start=18 * HOUR, open=120.0, high=120.002, low=119.998, close=120.0
    )
    scorer.update(later)
    assert scorer.value is not None
    assert not scorer.value.is_anomaly
    assert "price" in scorer.value.rules


def test_the_state_of_a_symbol_stays_below_four_kilobytes() -> None:
    chance = random.Random(2)
    scorer = MarketScorer(60 * SECOND)
    for number, item in enumerate(bars(3_000)):
        scorer.update(item._replace(start=number * 60 * SECOND, trades=chance.randrange(1, 5_000)))
    assert len(json.dumps(scorer.state())) < 4_096


def test_bars_of_trades_and_of_quotes_are_observed() -> None:
    bar = BarRecord("A", "1s", 5, 10.0, 12.0, 9.0, 11.0, 99.0, 10.5, 7, 1, True, False, ())
    seen = observation_of(bar, latency=8)
    assert seen == Observation(5, 1, 10.0, 12.0, 9.0, 11.0, math.log(100.0), 7, 99.0, 8)
    bar.filled = True
    assert observation_of(bar) is None
    quote = QuoteBarRecord(
        "A", "1s", 5, 9, 9, 9, 9, 11, 11, 11, 11, 10, 10.5, 9.5, 10, 1, 1, 2.0, 4, 0, True, ()
    )
    assert observation_of(quote) == Observation(5, 0, 10, 10.5, 9.5, 10, 0.2, 4)
    quote.is_final = False
    assert observation_of(quote) is None


def series(count: int) -> list[tuple[int, float]]:
    return SeriesScorer.sample(1, count)


def test_a_series_without_anomalies_has_few_alarms() -> None:
    scorer = SeriesScorer(HOUR, false_alarms_per_day=0.1)
    alarms = 0
    for item in series(24 * 200):
        scorer.update(item)
        alarms += scorer.value is not None and scorer.value.is_anomaly
    assert 0 < alarms < 30


@pytest.mark.parametrize("fault", ["spike", "shift"])
def test_a_fault_in_a_season_is_found(fault: str) -> None:
    scorer = SeriesScorer(HOUR, false_alarms_per_day=0.1)
    begin, found = 24 * 60, []
    for number, (time, value) in enumerate(series(begin + 48)):
        if number == begin + 6 and fault == "spike":
            value -= 20.0  # What is ordinary at another hour.
        if number >= begin and fault == "shift":
            value += 4.0
        scorer.update((time, value))
        if number >= begin and scorer.value is not None and scorer.value.is_anomaly:
            found.append(number - begin)
    assert found
    assert found[0] <= (6 if fault == "spike" else 24)


def test_a_series_says_when_it_is_warm() -> None:
    scorer = SeriesScorer(HOUR)
    ready = []
    for item in series(202):
        scorer.update(item)
        ready.append(scorer.ready)
    assert ready == [False] * 200 + [True] * 2


@pytest.mark.parametrize("parameters", [{"interval": 0}, {"interval": 1, "warm_up": 10}])
def test_parameters_out_of_bounds_are_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SeriesScorer(**parameters)
    with pytest.raises(ValueError, match="expected"):
        MarketScorer(**parameters)
    with pytest.raises(ValueError, match="finite"):
        SeriesScorer(HOUR).update((0, math.nan))


def test_the_interval_is_the_median_step() -> None:
    assert interval_of([0, 5, 10, 400, 405]) == 5
    for times in ([], [3], [3, 3, 3]):
        with pytest.raises(ValueError, match="at least two values"):
            interval_of(times)
