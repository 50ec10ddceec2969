"""The parts of the anomaly scorers, against exact statistics and against river."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from models.anomalies.control import EwmaChart, PageHinkley
from models.anomalies.robust import RobustScale
from models.anomalies.rules import RuleItem, Rules
from models.anomalies.seasons import HOUR, SeasonalScale
from models.anomalies.tails import AlarmThreshold, Tail
from models.anomalies.trees import HalfSpaceTrees, unit


@pytest.mark.parametrize(
    ("trees", "height", "window", "seed"), [(8, 4, 50, 1), (10, 8, 250, 42), (3, 2, 20, 7)]
)
def test_half_space_trees_score_as_rivers_bit_for_bit(
    trees: int, height: int, window: int, seed: int
) -> None:
    anomaly = pytest.importorskip("river.anomaly", reason="river is the oracle: pip install river")
    theirs = anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=window, seed=seed)
    ours = HalfSpaceTrees(2, trees, height, window, seed)
    for item in HalfSpaceTrees.sample(3, 3 * window + 11):
        features = {"a": item[0], "b": item[1]}
        expected = theirs.score_one(features)
        theirs.learn_one(features)
        ours.update(item)
        assert (ours.value or 0) == expected
    assert ours.ready


def test_page_hinkley_detects_at_the_items_where_rivers_does() -> None:
    drift = pytest.importorskip("river.drift", reason="river is the oracle: pip install river")
    theirs = drift.PageHinkley(min_instances=30, delta=0.05, threshold=20.0)
    ours = PageHinkley(least=30, delta=0.05, threshold=20.0)
    found = []
    for number, item in enumerate(PageHinkley.sample(5, 3_000)):
        theirs.update(item)
        ours.update(item)
        assert bool(ours.value) == theirs.drift_detected, number
        if ours.value:
            found.append(number)
    assert len(found) > 5


def test_median_and_mad_come_to_the_exact_ones() -> None:
    chance = random.Random(1)
    items = [chance.gauss(3.0, 2.0) for _ in range(20_000)]
    items[::50] = [1e9] * len(items[::50])
    scale = RobustScale(memory=20_000)
    for item in items:
        scale.update(item)
    median = statistics.median(items)
    mad = statistics.median(abs(item - median) for item in items)
    assert scale.median == pytest.approx(median, abs=0.1)
    assert scale.mad == pytest.approx(mad, rel=0.05)
    assert scale.z(median + mad) == pytest.approx(0.6745, abs=0.06)


def test_where_most_items_are_alike_the_mean_deviation_is_the_floor() -> None:
    scale = RobustScale()
    for number in range(1_000):
        scale.update(10.0 if number % 10 == 0 else 0.0)
    assert scale.mad < 0.01
    assert 5 < scale.z(10.0) < 200


def test_a_constant_series_gives_a_bounded_z_to_what_differs() -> None:
    scale = RobustScale()
    for _ in range(100):
        scale.update(5.0)
    assert scale.z(5.0) == 0.0
    assert scale.z(5.1) == 1e6


@pytest.mark.parametrize("name", ["exponential", "normal", "pareto"])
def test_a_tails_surprise_is_how_often_it_happens(name: str) -> None:
    chance = random.Random(4)
    draw = {
        "exponential": lambda: chance.expovariate(1.0),
        "normal": lambda: abs(chance.gauss(0.0, 1.0)),
        "pareto": lambda: chance.paretovariate(4.0) - 1.0,
    }[name]
    tail = Tail(memory=20_000)
    for _ in range(20_000):
        tail.learn(draw())
    surprises = sorted(tail.surprise(draw()) for _ in range(100_000))
    for probability in (0.05, 0.01, 0.001):
        there = surprises[-round(probability * len(surprises))]
        # Where it errs, towards more frequent: fewer alarms.
        assert 0.6 < math.exp(-there) / probability < 2.0


@pytest.mark.parametrize("rate", [0.01, 0.001])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("charge", [1.0, 0.25])
def test_alarms_come_at_the_rate_that_was_asked_for(
    rate: float, power: float, charge: float
) -> None:
    chance = random.Random(7)
    threshold = AlarmThreshold(rate, charge=charge)
    alarms, count = 0, 60_000
    for _ in range(count):
        threshold.update(chance.expovariate(1.0) ** power)
        alarms += threshold.value is not None and threshold.value.is_alarm
    assert 0.4 * rate < alarms / count < 1.6 * rate


def test_faults_do_not_use_up_what_false_alarms_are_allowed() -> None:
    def limit(charge: float, fault: float | None) -> float:
        threshold = AlarmThreshold(0.001, charge=charge)
        for number, item in enumerate(AlarmThreshold.sample(1, 10_800)):
            # Five in the time of one false alarm.
            is_fault = fault is not None and number >= 10_000 and number % 200 == 0
            threshold.update(fault if is_fault and fault is not None else item)
        assert threshold.value is not None
        return threshold.value.threshold

    by_charge = {charge: limit(charge, 30.0) - limit(charge, None) for charge in (1.0, 0.25)}
    assert 0.0 < by_charge[0.25] < 0.5 * by_charge[1.0]


def test_alarms_that_are_far_out_come_at_most_so_often() -> None:
    chance = random.Random(3)
    threshold = AlarmThreshold(0.001, charge=0.25)
    alarms, count = 0, 100_000
    for _ in range(count):
        # The quotient of two normal items has no mean: no tail of moments fits it.
        threshold.update(abs(chance.gauss(0.0, 1.0) / chance.gauss(0.0, 1.0)))
        alarms += threshold.value is not None and threshold.value.is_alarm
    assert alarms / count < 0.001 / 0.25


def test_what_lasts_is_told_once_and_what_grows_again() -> None:
    threshold = AlarmThreshold(0.001)
    for item in AlarmThreshold.sample(1, 5_000):
        threshold.update(item)
    told = []
    for item in [30.0] * 20 + [300.0] * 5:
        threshold.update(item)
        assert threshold.value is not None
        told.append(threshold.value.is_alarm)
    assert [number for number, one in enumerate(told) if one] == [0, 20]


def test_an_ewma_chart_gives_the_deviations_of_its_mean() -> None:
    chart = EwmaChart(span=9)
    values = []
    for item in EwmaChart.sample(2, 20_000):
        chart.update(item)
        assert chart.value is not None
        values.append(chart.value)
    assert statistics.pstdev(values) == pytest.approx(1.0, abs=0.05)
    for _ in range(9):
        chart.update(2.0)
    assert chart.value is not None
    assert chart.value > 3


def test_a_season_judges_once_it_has_been_seen_and_predicts_best() -> None:
    scale = SeasonalScale(HOUR)
    for item in SeasonalScale.sample(1, 24 * 30):
        scale.update(item)
    time = 24 * 30 * HOUR
    # At midnight 0 is normal and 10 is not; at six it is the other way round.
    assert abs(scale.judge(time, 0.0)) < 2 < 5 < scale.judge(time, 10.0)
    assert abs(scale.judge(time + 6 * HOUR, 10.0)) < 2 < 5 < -scale.judge(time + 6 * HOUR, 0.0)


def test_without_a_season_the_whole_past_judges() -> None:
    chance = random.Random(3)
    scale = SeasonalScale(HOUR)
    for number in range(24 * 30):
        scale.update((number * HOUR, chance.gauss(0.0, 1.0)))
    around = [scale.judge((24 * 30 + hour) * HOUR, 3.0) for hour in range(24)]
    assert max(around) - min(around) < 0.5


def test_each_rule_says_its_name() -> None:
    rules = Rules()
    for number in range(60):
        rules.update(RuleItem(100.0 + number % 2, 10.0, 0))
        assert (rules.value is None) == (number < 20)
    assert rules.value == ()
    assert rules.judge(RuleItem(113.0, 10.0, 0)) == ("price", "overbought")
    assert rules.judge(RuleItem(90.0, 31.0, 0)) == ("price", "volume", "oversold")
    assert rules.judge(RuleItem(100.5, 29.0, 100_000_001)) == ("latency",)
    assert rules.judge(RuleItem(100.5, None, 100_000_000)) == ()


def test_rsi_of_the_rules_is_that_of_the_indicators() -> None:
    from tables.indicators.base import Indicator
    from tables.indicators.rsi import RelativeStrength

    indicator = RelativeStrength()
    rules = Rules(limits=(None, None, 60.0, 40.0, None))
    seen = set()
    for bar in Indicator.sample(1, 500):
        indicator.update(bar)
        rules.update(RuleItem(bar.close))
        if rules.value is None:
            continue
        assert isinstance(indicator.value, float)
        assert ("overbought" in rules.value) == (indicator.value >= 60.0)
        assert ("oversold" in rules.value) == (indicator.value <= 40.0)
        seen.update(rules.value)
    assert seen == {"overbought", "oversold"}


def test_a_feature_of_the_trees_lies_between_0_and_1() -> None:
    assert [unit(z) for z in (-1e6, -4.0, 0.0, 4.0, 12.0)] == pytest.approx(
        [0.0, 0.25, 0.5, 0.75, 0.875], abs=1e-5
    )
