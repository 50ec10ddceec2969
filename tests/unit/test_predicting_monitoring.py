"""Monitoring: what a partition knows, and what partitions know together."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.predicting.drift import drift_reference
from models.predicting.monitoring import Realised, VersionMonitor
from models.predicting.monitoring_pairs import HOUR, MOST_BLOCKS, Champion
from models.predicting.monitoring_records import Figures, MonitoringRecord
from models.predicting.monitoring_summaries import merge
from tables.learning import StateVersionError
from tests.unit.model_records import NAMES, described, sample_rows
from tests.unit.monitored import assert_alike, compared, contest, realised, recorded, watched

REFERENCE = drift_reference(sample_rows(2_000, 3, seed=1))
FEATURES = ("one", "two", "three")
MADE: dict[str, Any] = {"reference": REFERENCE, "names": FEATURES}
DAY = 24 * HOUR

RETURNS = st.floats(-0.1, 0.1) | st.just(0.0)
CHAMPIONS = st.builds(Champion, st.integers(1, 3), st.just(0), RETURNS).map(
    lambda each: each._replace(version=10 + each.generation)
)
OUTCOMES = st.builds(
    lambda prediction, half, target, previous, time, champion: Realised(
        prediction,
        None if half is None else prediction - half,
        None if half is None else prediction + half,
        target,
        previous,
        time,
        champion,
    ),
    RETURNS,
    st.none() | st.floats(0, 0.1),
    RETURNS,
    st.none() | RETURNS,
    st.integers(0, 400 * HOUR),
    st.none() | CHAMPIONS,
)


def restarted(monitor: VersionMonitor, **named: Any) -> VersionMonitor:
    state = json.loads(json.dumps(monitor.state(), allow_nan=False))
    return VersionMonitor.from_state(state, **named)


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, (int, float)):
        yield value


# What is known.


@given(st.lists(OUTCOMES, min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_figures_are_those_of_the_outcomes(outcomes: list[Realised]) -> None:
    found = watched(outcomes).value
    assert found is not None
    target = np.array([each.target for each in outcomes])
    prediction = np.array([each.prediction for each in outcomes])
    # As `baselines.last_value`: what is not known is 0.
    last = np.array([each.previous or 0.0 for each in outcomes])
    given_out = [each for each in outcomes if each.low is not None]
    inside = [each.low <= each.target <= each.high for each in given_out]  # type: ignore[operator]
    signed = (target != 0) & (prediction != 0)
    assert found.outcomes == len(outcomes)
    assert found.intervals == len(given_out)
    assert found.mse == pytest.approx(np.mean((target - prediction) ** 2))
    assert found.mse_zero == pytest.approx(np.mean(target**2))
    assert found.mse_last_value == pytest.approx(np.mean((target - last) ** 2))
    assert found.mean_absolute_error == pytest.approx(np.mean(np.abs(target - prediction)))
    assert found.coverage == (np.mean(inside) if inside else None)
    if signed.any():
        right = np.sign(target[signed]) == np.sign(prediction[signed])
        assert found.hit_rate == pytest.approx(right.mean())
    else:
        assert found.hit_rate is None
    if given_out:
        widths = [each.high - each.low for each in given_out]  # type: ignore[operator]
        assert found.mean_width == pytest.approx(np.mean(widths), abs=1e-15)
    # Squares of the least numbers are 0, and shares of them beyond all bounds.
    if found.mse_zero and found.mse_zero > 1e-100:
        assert found.skill_against_zero == pytest.approx(1 - (found.mse or 0) / found.mse_zero)
    assert found.psi is None


def test_a_monitor_that_has_seen_nothing_says_nothing() -> None:
    monitor = VersionMonitor(**MADE)
    assert monitor.value is None
    assert not monitor.ready
    record = recorded(monitor)
    assert record.figures.mse is None
    assert record.figures.psi is None
    assert (record.since, record.until) == (HOUR, HOUR)


def test_a_coverage_that_falls_is_seen_soon() -> None:
    chance = random.Random(4)
    monitor = watched([realised(chance.uniform(-1, 1) / 0.9) for _ in range(5_000)])
    before = monitor.value
    assert before is not None
    assert before.recent_coverage == pytest.approx(0.9, abs=0.03)
    for _ in range(500):
        monitor.update(realised(chance.uniform(-1, 1) / 0.5))
    after = monitor.value
    assert after is not None
    print("recent coverage", before.recent_coverage, after.recent_coverage, "all", after.coverage)
    assert after.recent_coverage is not None
    assert after.recent_coverage < 0.7
    assert after.coverage is not None
    assert after.coverage > 0.84
    for _ in range(2_500):
        monitor.update(realised(chance.uniform(-1, 1) / 0.5))
    assert monitor.value is not None
    assert monitor.value.recent_coverage == pytest.approx(0.5, abs=0.07)


def test_a_skill_that_is_lost_is_seen_soon() -> None:
    chance = random.Random(5)
    monitor = VersionMonitor()

    def learn(count: int, share: float) -> float:
        for _ in range(count):
            known = chance.gauss(0, 1)
            monitor.update(realised(known + chance.gauss(0, 1), prediction=share * known))
        assert monitor.value is not None
        assert monitor.value.recent_skill is not None
        return monitor.value.recent_skill

    assert learn(3_000, 1.0) == pytest.approx(0.5, abs=0.08)
    assert learn(2_000, -1.0) < -1.0


def test_a_shifted_feature_is_the_worst() -> None:
    monitor = VersionMonitor(**MADE)
    rows = sample_rows(1_000, 3, seed=2)
    rows[:, 1] += 1
    monitor.count(rows)
    found = monitor.value
    assert found is not None
    assert found.psi is not None
    assert list(found.psi) == list(FEATURES)
    assert (found.worst_feature, found.worst_psi) == ("two", found.psi["two"])
    assert found.psi["two"] > 0.25 > 0.1 > max(found.psi["one"], found.psi["three"])
    assert found.rows == 1_000
    counts = recorded(monitor).drift
    assert sum(counts["two"]) == 1_000
    assert counts["two"][-1] == int(np.isnan(rows[:, 1]).sum())


# Only the log says.

Step = tuple[str, Any]
STEPS = st.lists(
    st.tuples(st.just("advance"), st.integers(0, 9 * DAY))
    | st.tuples(st.just("count"), st.integers(0, 40))
    | st.tuples(st.just("update"), OUTCOMES)
    | st.tuples(st.just("restart"), st.none()),
    max_size=60,
)
POOL = sample_rows(60 * 40, 3, seed=3)


def walked(steps: list[Step], *, restarts: bool, pieces: int | None) -> tuple[list[Any], Any]:
    """Do the steps; return what was published, and the end state."""
    monitor, published, taken = VersionMonitor(**MADE), [], 0
    for verb, value in steps:
        if verb == "advance":
            over = monitor.advance(value)
            if over is not None:
                published.append(recorded(monitor, until=over))
        elif verb == "count":
            rows = POOL[taken : taken + value]
            taken += value
            for begin in range(0, len(rows), pieces or max(1, len(rows))):
                monitor.count(rows[begin : begin + (pieces or len(rows))])
        elif verb == "update":
            monitor.update(value)
        elif restarts:
            monitor = restarted(monitor, **MADE)
    return published, monitor.state()


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_neither_restarts_nor_pieces_change_what_is_published(steps: list[Step]) -> None:
    straight = walked(steps, restarts=False, pieces=None)
    assert walked(steps, restarts=True, pieces=None) == straight
    assert walked(steps, restarts=True, pieces=1) == straight
    assert walked(steps, restarts=False, pieces=7) == straight
    for record in straight[0]:
        content = msgspec.json.encode(record)
        assert msgspec.json.decode(content, type=MonitoringRecord) == record


def test_an_hour_is_over_once_and_hours_of_nothing_are_passed_over() -> None:
    monitor = VersionMonitor()
    told = [
        monitor.advance(int(hours * HOUR))
        for hours in (5.5, 5.9, 5.2, 6.0, 6.5, 4.0, 9.99, 10.0, 10.0)
    ]
    assert told == [None, None, None, 6 * HOUR, None, None, 7 * HOUR, 10 * HOUR, None]
    assert recorded(monitor).since == int(5.5 * HOUR)


def test_a_day_of_counts_ends_with_its_last_hour() -> None:
    monitor = VersionMonitor(**MADE)
    rows = sample_rows(10, 3)
    for day in range(9):
        for hours in (1, 12, 23):
            monitor.advance(day * DAY + hours * HOUR)
            monitor.count(rows)
    # The open day, and five before it.
    assert recorded(monitor).figures.rows == 6 * 30
    assert monitor.advance(9 * DAY) == 9 * DAY
    assert recorded(monitor).figures.rows == 5 * 30
    assert monitor.advance(20 * DAY) == 9 * DAY + HOUR
    assert recorded(monitor).figures.rows == 5 * 30, "days without rows are none"


def test_the_state_stays_small_and_holds_all_blocks() -> None:
    monitor = watched(
        [
            realised(0.1, time * HOUR)._replace(champion=Champion(1, 1, 0.2))
            for time in range(5_000)
        ],
        **MADE,
    )
    paired = recorded(monitor).paired
    assert paired is not None
    assert MOST_BLOCKS // 2 <= len(paired.blocks) <= MOST_BLOCKS
    assert sum(rows for _, rows, _ in paired.blocks) == 5_000
    assert len(json.dumps(monitor.state())) < 8_000
    assert len(msgspec.json.encode(recorded(monitor))) < 8_000


@pytest.mark.parametrize("broken", ["prediction", "target", "previous", "low", "high", "champion"])
def test_what_is_not_a_number_is_refused_and_nothing_is_taken(broken: str) -> None:
    monitor = watched([realised(0.1)], **MADE)
    before = monitor.state()
    wrong: Any = Champion(1, 1, math.nan) if broken == "champion" else math.nan
    with pytest.raises(ValueError, match="expected numbers"):
        monitor.update(realised(0.1)._replace(**{broken: wrong}))
    assert monitor.state() == before


def test_whatever_comes_everything_that_goes_out_is_finite() -> None:
    for seed in range(5):
        monitor = VersionMonitor(**MADE)
        rows = np.full((600, 3), np.inf, np.float32)
        rows[::2] = np.nan
        monitor.count(rows)
        for item in VersionMonitor.hostile(seed, 400):
            monitor.update(item)
        record = merge([recorded(monitor), recorded(monitor, 1)], REFERENCE)
        beside = compared(record)
        for each in (recorded(monitor), record, beside, monitor.value):
            assert all(map(math.isfinite, numbers_in(msgspec.to_builtins(each))))
        assert record.figures.psi is not None
        json.dumps(monitor.state(), allow_nan=False)


def test_a_monitor_is_made_for_a_version() -> None:
    reference = drift_reference(sample_rows(100, len(NAMES)))
    made = VersionMonitor.parameters(described(drift=reference, interval="1h", horizon=5))
    assert made == {"reference": reference, "names": NAMES, "block": 10 * HOUR}
    monitor = VersionMonitor(**made)
    monitor.count(sample_rows(10, len(NAMES)))
    assert restarted(monitor, **made).state() == monitor.state()
    older = VersionMonitor.parameters(described())
    assert older == {"reference": None, "names": NAMES, "block": HOUR}
    unwatched = VersionMonitor(**older)
    unwatched.count(sample_rows(1_000, len(NAMES)))
    assert unwatched.value is None
    assert recorded(unwatched).drift == {}
    with pytest.raises(ValueError, match="1 names, a reference of 4"):
        VersionMonitor(reference, ("one",))


def test_a_state_with_drift_is_not_for_a_monitor_without() -> None:
    for state, made in ((VersionMonitor(**MADE).state(), {}), (VersionMonitor().state(), MADE)):
        with pytest.raises(StateVersionError, match="the other way around"):
            VersionMonitor.from_state(state, **made)


# Partitions together.


@given(
    st.lists(st.tuples(OUTCOMES, st.integers(0, 3), st.integers(0, 20)), max_size=80),
    st.permutations(range(4)),
)
@settings(max_examples=150, deadline=None)
def test_records_of_partitions_are_together_as_of_one(
    dealt: list[tuple[Realised, int, int]], order: list[int]
) -> None:
    whole, parts = VersionMonitor(**MADE), [VersionMonitor(**MADE) for _ in range(4)]
    taken = 0
    # The last move first: what comes of earlier ones is left out by one and by many alike.
    dealt = sorted(dealt, key=lambda each: -(each[0].champion or (0,))[0])
    for outcome, partition, rows in dealt:
        for monitor in (whole, parts[partition]):
            monitor.update(outcome)
            monitor.count(POOL[taken : taken + rows])
        taken += rows
    merged = merge([recorded(parts[place], place) for place in order], REFERENCE)
    assert merged == merge([recorded(each, place) for place, each in enumerate(parts)], REFERENCE)
    one = recorded(whole)
    assert merged.partitions == (0, 1, 2, 3)
    assert merged.drift == one.drift
    assert merged.figures.psi == one.figures.psi
    assert merged.figures.coverage == one.figures.coverage
    recent = {"recent_skill": None, "recent_coverage": None}

    def compare_figures(record: MonitoringRecord) -> Any:
        return msgspec.to_builtins(msgspec.structs.replace(record.figures, **recent))

    assert_alike(compare_figures(merged), compare_figures(one))
    assert_alike(msgspec.to_builtins(merged.paired), msgspec.to_builtins(one.paired))
    # And in steps.
    steps = merge([recorded(parts[0], 0), recorded(parts[1], 1)], REFERENCE)
    others = merge([recorded(parts[2], 2), recorded(parts[3], 3)])
    assert_alike(
        msgspec.to_builtins(merge([others, steps])), msgspec.to_builtins(merge_bare(merged))
    )


def merge_bare(record: MonitoringRecord) -> MonitoringRecord:
    """The record as a reader without the reference has it."""
    return merge([record])


def test_recent_figures_together_are_weighted_by_outcomes() -> None:
    inside = recorded(watched([realised(0.5)] * 300), 0)
    outside = recorded(watched([realised(1.5)] * 100), 1)
    found = merge([outside, inside]).figures.recent_coverage
    assert found is not None
    assert 0.68 < found < 0.75


def test_without_a_reference_counts_are_merged_and_no_psi_is_told() -> None:
    monitor = VersionMonitor(**MADE)
    monitor.count(sample_rows(1_000, 3))
    merged = merge([recorded(monitor, 0), recorded(monitor, 1)])
    assert merged.figures.rows == 2_000
    assert merged.figures.psi is None


def test_records_that_do_not_belong_together_are_refused() -> None:
    one = recorded(VersionMonitor())
    with pytest.raises(ValueError, match="at least one"):
        merge([])
    for change in ({"version": 8}, {"alias": "champion"}, {"model": "other"}):
        with pytest.raises(ValueError, match="one version in one role"):
            merge([one, msgspec.structs.replace(one, partitions=(1,), **change)])
    with pytest.raises(ValueError, match="two records of one partition"):
        merge([one, one])
    other = recorded(VersionMonitor(REFERENCE, ("three", "two", "one")), 1)
    with pytest.raises(ValueError, match="different features"):
        merge([recorded(VersionMonitor(**MADE)), other])
    pair = realised(1.0)._replace(champion=Champion(1, 1, 0.0))
    blocks = [recorded(watched([pair], block=each * HOUR), each) for each in (1, 2)]
    with pytest.raises(ValueError, match="differ in generation 1"):
        merge(blocks)


# Records.


def test_records_are_json_and_read_back() -> None:
    monitor = watched(contest(0.1, 30), **MADE)
    monitor.count(sample_rows(600, 3))
    for record in (recorded(monitor), merge([recorded(monitor)], REFERENCE)):
        assert msgspec.json.decode(msgspec.json.encode(record), type=MonitoringRecord) == record
    figures = recorded(monitor).figures
    assert isinstance(figures, Figures)
    assert list(json.loads(msgspec.json.encode(figures)))[:2] == ["outcomes", "mse"]


def test_what_was_published_does_not_change_as_more_comes() -> None:
    monitor = watched(contest(0.1, 2), **MADE)
    record = recorded(monitor)
    content = msgspec.json.encode(record)
    value = repr(monitor.value)
    held = monitor.value
    monitor.update(realised(0.3))
    monitor.count(sample_rows(10, 3))
    assert msgspec.json.encode(record) == content
    assert repr(held) == value
