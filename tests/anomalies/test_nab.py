"""The benchmark's scoring, by hand-made cases, and our place in it on the real series."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.anomalies.series import FALSE_ALARMS_PER_DAY
from tests.anomalies.nab import OURS, detectors, evaluate, read_corpus, total
from tests.anomalies.nab_scoring import nab_result, probation, sigmoid


def result_of(rows: int, alarms: set[int], windows: list[tuple[int, int]]):  # type: ignore[no-untyped-def]
    return nab_result(list(range(rows)), [row in alarms for row in range(rows)], windows)


def test_silence_is_0_and_the_first_row_of_each_window_100() -> None:
    windows = [(300, 399), (600, 699)]
    assert result_of(1_000, set(), windows).score == 0.0
    assert result_of(1_000, {300, 600}, windows).score == pytest.approx(100.0)


def test_only_the_first_alarm_of_a_window_counts_and_early_is_worth_more() -> None:
    windows = [(300, 399)]
    early, late = result_of(1_000, {310, 350}, windows), result_of(1_000, {390}, windows)
    assert early.score == result_of(1_000, {310}, windows).score > late.score > 50.0
    assert late.raw == pytest.approx(sigmoid(-10 / 100) / sigmoid(-1.0))


def test_a_false_alarm_costs_more_the_further_it_is_behind_a_window() -> None:
    windows = [(300, 399)]
    costs = [-1.0 - result_of(1_000, {row}, windows).raw for row in (400, 450, 498, 696, 900, 200)]
    assert costs == pytest.approx(
        [0.11 * -sigmoid(each) for each in (1 / 99, 51 / 99, 1.0, 3.0, 3.0, 3.0)]
    )
    assert costs[-1] == pytest.approx(0.11)


def test_probation_counts_for_nothing() -> None:
    assert (probation(1_000), probation(100_000)) == (150, 750)
    result = result_of(1_000, {10, 149}, [(20, 40), (300, 399)])
    assert (result.windows, result.false_alarms, result.raw) == (1, 0, -1.0)


@pytest.mark.realdata
@pytest.mark.slow
def test_ours_is_above_random_a_windowed_gaussian_and_rivers_trees(realdata: Path) -> None:
    pytest.importorskip("river", reason="river is what ours is compared with: pip install river")
    corpus = read_corpus(realdata / "nab")
    assert len(corpus) == 7
    scores = {
        name: total(evaluate(corpus, detector, FALSE_ALARMS_PER_DAY)).score
        for name, detector in detectors(1).items()
    }
    others = {name: score for name, score in scores.items() if name != OURS}
    assert len(others) == 5
    assert scores[OURS] > max(others.values())
