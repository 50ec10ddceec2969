"""A challenger beside the champion: who is better, and when that is said."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.predicting.monitoring import VersionMonitor
from models.predicting.monitoring_pairs import (
    HOUR,
    LEAST_BLOCKS,
    MOST_BLOCKS,
    Block,
    Champion,
    block_length,
    mean_difference,
)
from models.predicting.monitoring_records import MonitoringRecord
from models.predicting.monitoring_summaries import merge
from tests.unit.monitored import assert_alike, compared, contest, realised, recorded, watched


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 3)), min_size=100, max_size=600),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_blocks_depend_on_times_alone(dealt: list[tuple[int, int]], chance: random.Random) -> None:
    def paired(chosen: list[tuple[int, int]]) -> MonitoringRecord:
        items = [realised(1.0, hour * HOUR) for hour, _ in chosen]
        return recorded(watched([x._replace(champion=Champion(1, 1, 0.5)) for x in items]))

    one = paired(dealt).paired
    parts = [
        msgspec.structs.replace(paired([x for x in dealt if x[1] == part]), partitions=(part,))
        for part in range(4)
    ]
    assert one is not None
    assert len(one.blocks) <= MOST_BLOCKS
    assert_alike(msgspec.to_builtins(merge(parts).paired), msgspec.to_builtins(one))
    shuffled = list(dealt)
    chance.shuffle(shuffled)
    assert_alike(msgspec.to_builtins(paired(shuffled).paired), msgspec.to_builtins(one))


@pytest.mark.parametrize(("share", "verdict"), [(0.1, "better"), (-0.1, "worse"), (0.0, None)])
def test_a_challenger_is_told_apart_where_there_is_a_difference(
    share: float, verdict: str | None
) -> None:
    outcomes = contest(share, 100)
    found = compared(recorded(watched(outcomes)))
    print(found.sentence)
    assert found.verdict == (verdict or "undecided")
    assert (found.rows, found.blocks) == (6_000, 100)
    target = np.array([each.target for each in outcomes])
    own = np.array([each.prediction for each in outcomes])
    other = np.array([each.champion.prediction for each in outcomes if each.champion])
    assert found.champion_mse == pytest.approx(np.mean((target - other) ** 2))
    assert found.challenger_mse == pytest.approx(np.mean((target - own) ** 2))
    one, beside = np.mean((target - own) ** 2), np.mean((target - other) ** 2)
    assert found.difference == pytest.approx(beside - one)
    assert found.skill == pytest.approx(1 - one / beside)
    assert found.low is not None
    assert found.high is not None
    assert found.low < beside - one < found.high
    assert found.sentence.startswith(
        {"better": "Better", "worse": "Worse", None: "Not told apart"}[verdict]
    )
    assert "95%" in found.sentence


def test_too_few_blocks_decide_nothing() -> None:
    record = recorded(watched(contest(0.9, LEAST_BLOCKS - 1)))
    found = compared(record)
    assert found.verdict == "undecided"
    assert found.low is None
    assert found.difference is not None
    assert found.sentence == "Undecided: 1,140 rows in 19 blocks of time are too few."
    assert compared(recorded(watched(contest(0.9, LEAST_BLOCKS)))).verdict == "better"


def test_one_that_predicts_the_same_is_no_better() -> None:
    items = [
        realised(0.1, hour * HOUR, 0.2)._replace(champion=Champion(1, 7, 0.2)) for hour in range(50)
    ]
    found = compared(recorded(watched(items)))
    assert (found.verdict, found.difference, found.low, found.high) == ("undecided", 0, 0, 0)


def test_pairs_with_another_champion_or_none_do_not_count() -> None:
    record = recorded(watched(contest(0.5, 30)))
    assert compared(record, champion=8).rows == 0
    assert compared(record, champion=8).verdict == "undecided"
    assert compared(recorded(VersionMonitor())).champion_mse is None
    other = msgspec.structs.replace(record, model="other")
    with pytest.raises(ValueError, match="expected one model"):
        compared(other)


def test_another_champion_begins_anew_and_late_labels_of_the_last_are_left_out() -> None:
    first, second = Champion(4, 7, 0.3), Champion(5, 6, 0.1)
    moves = [None, first, first, second, first, None, second]
    items = [realised(0.5, hour * HOUR)._replace(champion=each) for hour, each in enumerate(moves)]
    monitor = watched(items[:3])
    held = recorded(monitor).paired
    assert held is not None
    assert (held.generation, held.champion, held.length, held.level) == (4, 7, HOUR, 0)
    assert held.champion_error == pytest.approx(2 * 0.2**2)
    assert [block[:2] for block in held.blocks] == [(1, 1), (2, 1)]
    assert [block[2] for block in held.blocks] == pytest.approx([-0.21, -0.21])
    for each in items[3:]:
        monitor.update(each)
    paired = recorded(monitor).paired
    assert paired is not None
    assert (paired.generation, paired.champion) == (5, 6)
    assert [place for place, _, _ in paired.blocks] == [3, 6]
    # A partition where the alias has not moved yet says nothing of the new champion.
    behind = recorded(watched(items[:3]), 1)
    assert merge([behind, recorded(monitor, 2)]).paired == paired


def other_error(blocks: Sequence[Block]) -> float:
    """The standard error by numpy, over rows that stand for their block's mean."""
    place, rows, total = np.array(blocks).T
    residual = total - total.sum() / rows.sum() * rows
    matrix: npt.NDArray[np.bool_] = np.abs(place[:, None] - place[None, :]) <= 1
    wide = max(residual @ matrix @ residual, residual @ residual)
    return float(math.sqrt(wide * len(blocks) / (len(blocks) - 1)) / rows.sum())


@given(
    st.dictionaries(
        st.integers(0, 60),
        st.tuples(st.integers(1, 100), st.floats(-1, 1)),
        min_size=LEAST_BLOCKS,
        max_size=50,
    )
)
@settings(deadline=None)
def test_the_standard_error_is_that_of_a_ratio_over_blocks(
    drawn: dict[int, tuple[int, float]],
) -> None:
    blocks = [(place, *drawn[place]) for place in sorted(drawn)]
    found = mean_difference(blocks)
    assert found is not None
    assert found.standard_error == pytest.approx(other_error(blocks), rel=1e-6, abs=1e-12)
    ratio = sum(rows for _, rows, _ in blocks) / 1_000
    wide = math.sqrt((ratio + 1) / ratio * (math.log(ratio + 1) - 2 * math.log(0.05)))
    assert wide > 3
    assert found.high - found.mean == pytest.approx(wide * found.standard_error, abs=1e-12)
    assert found.mean - found.low == pytest.approx(wide * found.standard_error, abs=1e-12)


def test_a_hundred_symbols_that_move_together_are_no_more_proof_than_one() -> None:
    outcomes = contest(0.004, 100, seed=3)
    one = compared(recorded(watched(outcomes)))
    many = compared(recorded(watched([each for each in outcomes for _ in range(20)])))
    assert many.rows == 20 * one.rows
    assert many.standard_error == pytest.approx(one.standard_error)


def test_equals_are_rarely_told_apart_at_any_of_hundreds_of_looks() -> None:
    """Differences of overlapping horizons in unrest that comes and goes; equal on average."""
    chance = np.random.default_rng(8)
    hours, horizon, tries = 300, 30, 120
    rows = hours * 60
    length = block_length(60_000_000_000, horizon)
    assert length == HOUR
    told = told_by_two_errors = 0
    for _ in range(tries):
        unrest = np.exp(
            np.convolve(chance.standard_normal(hours), 0.9 ** np.arange(30))[:hours] / 3
        )
        moves = chance.standard_t(4, rows + horizon) * np.repeat(unrest, 60)[-1]
        moves[:rows] *= np.repeat(unrest, 60) / np.repeat(unrest, 60)[-1]
        walk = np.cumsum(np.concatenate([[0.0], moves]))
        target = walk[horizon : rows + horizon] - walk[:rows]
        slow = np.ones(20) / math.sqrt(20)
        one, other = (np.convolve(chance.standard_normal(rows), slow)[:rows] for _ in range(2))
        hourly = ((target - one) ** 2 - (target - other) ** 2).reshape(hours, 60).sum(axis=1)
        blocks = [(hour, 60, float(each)) for hour, each in enumerate(hourly)]
        looks = [mean_difference(blocks[:hour]) for hour in range(LEAST_BLOCKS, hours, 5)]
        assert all(looks)
        told += any(each is not None and not each.low <= 0 <= each.high for each in looks)
        told_by_two_errors += any(
            each is not None and abs(each.mean) > 2 * each.standard_error for each in looks
        )
    print(f"of {tries} equal pairs {told} told apart; {told_by_two_errors} by two standard errors")
    assert told <= 0.05 * tries
    assert told_by_two_errors > 2 * told + 5, "what the wider interval is for"
