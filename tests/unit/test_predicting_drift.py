"""Drift: bins of any feature, counts in any pieces, PSI beside another formula and known shifts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.predicting.conformal import Calibration
from models.predicting.drift import (
    BINS,
    KEPT_DAYS,
    LEAST_ROWS,
    MAJOR_SHIFT,
    MODERATE_SHIFT,
    DriftCounts,
    DriftReference,
    drift_reference,
    population_stability,
)
from models.predicting.manifest import Manifest, digest, draft_manifest, plain, seal, unseal
from models.predicting.planted import white_noise
from models.predicting.registry_errors import CorruptModelError
from models.predicting.training import TrainingSettings, train
from tables.learning import StateVersionError
from tests.unit.model_records import FILES, NAMES, described

Rows = npt.NDArray[np.float32]

#: Few values, so that there are ties, and all kinds of them.
VALUES = st.sampled_from(
    [math.nan, 0.0, -0.0, 1.0, -1.0, 0.1, 2.5, 1e-40, 3.4e38, -3.4e38, 7.0, 8.0]
) | st.floats(-10, 10, width=32)


def matrices(least: int = 1) -> st.SearchStrategy[Rows]:
    shape = st.tuples(st.integers(least, 60), st.just(3))
    return arrays.arrays(np.float32, shape, elements=VALUES, fill=st.nothing())


def normal(rows: int, columns: int = 4, shift: float = 0.0, seed: int = 1) -> Rows:
    chance = np.random.default_rng(seed)
    return (chance.standard_normal((rows, columns)) + shift).astype(np.float32)


def column(*values: float) -> Rows:
    return np.array(values, np.float32)[:, None]


def counted(reference: DriftReference, rows: Rows) -> DriftCounts:
    counts = DriftCounts(reference)
    counts.count(rows)
    return counts


def stability(reference: DriftReference, rows: Rows) -> tuple[float, ...]:
    value = counted(reference, rows).value
    assert value is not None
    return value


def test_bins_of_a_plain_feature_are_tenths() -> None:
    reference = drift_reference(column(*range(1_000)))
    assert reference.cuts == (tuple(map(float, range(100, 1_000, 100))),)
    assert reference.counts == ((100,) * 10 + (0,),)
    assert reference.rows == 1_000


def test_a_constant_has_its_own_bin_and_both_sides_of_it() -> None:
    for constant in (0.0, -0.0, 2.5, -7.0, 1e-44, 3.4e38):
        reference = drift_reference(column(*[constant] * 50))
        assert reference.counts == ((0, 50, 0, 0),), constant
        moved = counted(reference, column(-3.4028e38, constant, 3.40281e38, math.nan))
        assert moved.counts == ((1, 1, 1, 1),), constant


def test_the_greatest_number_of_all_has_none_above_it() -> None:
    greatest = float(np.finfo(np.float32).max)
    reference = drift_reference(column(*[greatest] * 20))
    assert reference.counts == ((0, 20, 0),)


def test_a_sparse_feature_has_its_zero_apart() -> None:
    values = [0.0] * 75 + [float(number) for number in range(1, 26)]
    reference = drift_reference(column(*values))
    assert reference.counts[0][:2] == (0, 75), "none below, and the zeros"
    assert sum(reference.counts[0]) == 100
    live = counted(reference, column(-1.0, 0.0, 1.0)).counts[0]
    assert live[:2] == (1, 1)


def test_a_feature_that_was_never_there_has_a_bin_for_when_it_comes() -> None:
    reference = drift_reference(column(*[math.nan] * 2_000))
    assert reference == DriftReference(((),), ((0, 2_000),))
    assert stability(reference, column(*[math.nan] * LEAST_ROWS))[0] < 0.01
    assert stability(reference, column(*[1.0] * LEAST_ROWS))[0] > MAJOR_SHIFT


def test_infinities_fall_into_the_outermost_bins() -> None:
    reference = drift_reference(column(*range(100)))
    counts = counted(reference, column(math.inf, -math.inf)).counts[0]
    assert counts == (1, *[0] * 8, 1, 0)


@given(matrices())
@settings(max_examples=200, deadline=None)
def test_a_reference_of_any_rows_counts_each_once_and_reads_back(rows: Rows) -> None:
    reference = drift_reference(rows)
    for place in range(rows.shape[1]):
        cuts, counts = reference.cuts[place], reference.counts[place]
        assert len(cuts) < BINS
        present = rows[:, place][~np.isnan(rows[:, place])].tolist()
        edges = [-math.inf, *cuts, math.inf]
        for number in range(len(cuts) + 1):
            inside = sum(edges[number] <= each < edges[number + 1] for each in present)
            assert inside == counts[number]
        assert counts[-1] == len(rows) - len(present)
    manifest = draft_manifest(described(feature_names=NAMES[:3], drift=reference), FILES)
    assert unseal(seal(manifest), Manifest, "here").drift == reference


@given(matrices(), st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40))
@settings(max_examples=200, deadline=None)
def test_counts_do_not_depend_on_how_rows_are_split(
    rows: Rows, pieces: list[tuple[int, bool]]
) -> None:
    reference = drift_reference(normal(200, 3))
    split, done = DriftCounts(reference), 0
    for size, restart in pieces:
        split.count(rows[done : done + size])
        done = min(len(rows), done + size)
        if restart:
            split = DriftCounts.from_state(json.loads(json.dumps(split.state())), reference)
    split.count(rows[done:])
    assert split.state() == counted(reference, rows).state()
    one_by_one = DriftCounts(reference)
    for row in rows:
        one_by_one.update(tuple(None if math.isnan(each) else each for each in row.tolist()))
    assert one_by_one.counts == split.counts


def test_more_rows_than_a_byte_can_count_are_counted() -> None:
    for rows in (254, 255, 256, 510, 511, 1_000):
        assert counted(drift_reference(column(1.0)), column(*[1.0] * rows)).counts == (
            (0, rows, 0, 0),
        )


def test_counts_of_partitions_add_up() -> None:
    reference, rows = drift_reference(normal(2_000)), normal(1_000, seed=2)
    parts = [counted(reference, rows[first::3]).counts for first in range(3)]
    added = tuple(tuple(map(sum, zip(*each, strict=True))) for each in zip(*parts, strict=True))
    assert added == counted(reference, rows).counts
    assert reference.stability(added) == counted(reference, rows).value


def other_formula(training: list[float], live: list[float], half: float = 0.5) -> float:
    """PSI as twice the mean log-odds, by numpy; smoothing as the module states it."""
    expected = (np.array(training) + half) / (np.sum(training) + half * len(training))
    found = (np.array(live) + half * len(live) * expected) / (np.sum(live) + half * len(live))
    # Kullback and Leibler, each way.
    return float((found * np.log(found / expected) + expected * np.log(expected / found)).sum())


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=2, max_size=11))
def test_the_index_is_the_symmetric_divergence(counts: list[tuple[int, int]]) -> None:
    training, live = [each for each, _ in counts], [each for _, each in counts]
    found = population_stability(training, live)
    assert math.isfinite(found)
    assert found >= 0
    assert found == pytest.approx(other_formula([*training], [*live]), rel=1e-9, abs=1e-12)


def test_the_index_of_a_textbook_example() -> None:
    # Shares 0.2, 0.3, 0.5 and 0.3, 0.3, 0.4: 0.1 ln 1.5 - 0.1 ln 0.8.
    many = 10**9
    found = population_stability([2 * many, 3 * many, 5 * many], [3 * many, 3 * many, 4 * many])
    assert found == pytest.approx(0.1 * math.log(1.5) - 0.1 * math.log(0.8), rel=1e-6)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=11))
def test_equal_shares_and_no_rows_give_nothing(counts: list[int]) -> None:
    assert population_stability(counts, [0] * len(counts)) == pytest.approx(0, abs=1e-12)
    trained = [5_000, *counts]
    assert population_stability(trained, [1_000 * each for each in trained]) < MODERATE_SHIFT


def test_the_same_distribution_stays_below_the_first_threshold() -> None:
    reference = drift_reference(normal(20_000, 20))
    for rows in (LEAST_ROWS, 5_000):
        worst = 0.0
        for seed in range(2, 12):
            worst = max(worst, *stability(reference, normal(rows, 20, seed=seed)))
        print(f"200 unshifted features, {rows} rows: PSI {worst:.4f} at most")
        assert worst < MODERATE_SHIFT
    # As theory has it: (bins - 1) (1/n + 1/training).
    mean = np.mean([stability(reference, normal(2_000, 20, seed=seed)) for seed in range(2, 12)])
    assert mean == pytest.approx(9 * (1 / 2_000 + 1 / 20_000), rel=0.3)


@pytest.mark.parametrize("rows", [LEAST_ROWS, 5_000])
def test_a_shift_by_one_standard_deviation_is_major(rows: int) -> None:
    reference = drift_reference(normal(20_000))
    found = stability(reference, normal(rows, shift=1.0, seed=3))
    print("shifted by one standard deviation:", [round(each, 3) for each in found])
    assert min(found) > MAJOR_SHIFT
    assert min(stability(reference, 2 * normal(rows, seed=4))) > MAJOR_SHIFT, "twice as wide"


def test_a_feature_that_goes_missing_is_a_major_shift() -> None:
    reference = drift_reference(normal(20_000, 2))
    rows = normal(2_000, 2, seed=5)
    rows[::3, 0] = math.nan
    missing, whole = stability(reference, rows)
    assert missing > MAJOR_SHIFT
    assert whole < MODERATE_SHIFT


def test_few_rows_say_nothing() -> None:
    counts = counted(drift_reference(normal(1_000)), normal(LEAST_ROWS - 1))
    assert counts.value is None
    assert not counts.ready
    counts.count(normal(1))
    assert counts.ready


def test_a_lasting_shift_is_seen_as_days_go_and_forgotten_as_they_come() -> None:
    counts = DriftCounts(drift_reference(normal(20_000)))

    def day(number: int, shift: float) -> float:
        counts.count(normal(390, shift=shift, seed=100 + number))
        found = counts.value
        counts.close_day()
        return min(found) if found is not None else 0.0

    plain_days = [day(number, 0.0) for number in range(6)]
    shifted = [day(number, 1.0) for number in range(6, 12)]
    print("PSI at the ends of shifted days:", [round(each, 3) for each in shifted])
    assert max(plain_days) < MODERATE_SHIFT < shifted[2]
    assert shifted[1] > 0.08
    assert shifted[3] > MAJOR_SHIFT
    back = [day(number, 0.0) for number in range(12, 18)]
    assert back[-1] < MODERATE_SHIFT


def test_half_a_day_of_a_feature_of_the_time_is_no_shift() -> None:
    day = np.linspace(0, 1, 390, dtype=np.float32)[:, None]
    counts = DriftCounts(drift_reference(np.tile(day, (20, 1))))
    for _ in range(KEPT_DAYS):
        counts.count(day)
        counts.close_day()
    for begin in range(0, 390, 39):
        counts.count(day[begin : begin + 39])
        assert counts.value is not None
        assert counts.value[0] < 0.02


def test_the_open_day_and_the_last_five_that_had_rows_count() -> None:
    counts = DriftCounts(drift_reference(normal(100, 1)))
    for number in range(1, 9):
        counts.count(normal(number, 1))
        counts.close_day()
        counts.close_day()
        assert counts.rows == sum(range(max(1, number - KEPT_DAYS + 1), number + 1))
    counts.count(normal(9, 1))
    assert counts.rows == 4 + 5 + 6 + 7 + 8 + 9
    assert len(counts.state()) == 1 + 1 + KEPT_DAYS
    resumed = DriftCounts.from_state(counts.state(), counts.reference)
    resumed.close_day()
    counts.close_day()
    assert resumed.state() == counts.state()


@pytest.mark.parametrize(
    "rows",
    [
        normal(10, 3),
        normal(10).astype(np.float64),
        normal(10)[0],
    ],
)
def test_rows_of_another_kind_are_refused(rows: Any) -> None:
    counts = DriftCounts(drift_reference(normal(100)))
    with pytest.raises(ValueError, match="expected float32"):
        counts.count(rows)
    assert counts.rows == 0


@pytest.mark.parametrize("rows", [normal(0), column(1.0, math.inf)])
def test_no_reference_is_made_of_no_rows_or_of_infinities(rows: Rows) -> None:
    with pytest.raises(ValueError, match="needs rows"):
        drift_reference(rows)


@pytest.mark.parametrize(
    ("cuts", "counts"),
    [
        (((1.0,),), ()),
        (((1.0, 1.0),), ((1, 1, 1, 1),)),
        (((2.0, 1.0),), ((1, 1, 1, 1),)),
        (((math.nan,),), ((1, 1, 1),)),
        (((math.inf,),), ((1, 1, 1),)),
        (((1.0,),), ((1, 1),)),
        (((1.0,),), ((1, -1, 1),)),
        (((1.0,), ()), ((1, 1, 1), (1, 1))),
        (((1.0,),), ((0, 0, 0),)),
        ((tuple(range(10)),), ((1,) * 12,)),
        ((), ()),
    ],
)
def test_a_reference_that_makes_no_sense_is_refused(cuts: Any, counts: Any) -> None:
    with pytest.raises(ValueError, match=r"feature|expected"):
        DriftReference(cuts, counts)


def test_live_counts_of_other_bins_are_refused() -> None:
    reference = drift_reference(normal(100, 2))
    with pytest.raises(ValueError, match="other features or bins"):
        reference.stability(reference.counts[:1])


def test_a_state_of_another_reference_is_refused() -> None:
    state = counted(drift_reference(normal(100, 2)), normal(20, 2)).state()
    with pytest.raises(StateVersionError, match="expected 30"):
        DriftCounts.from_state(state, drift_reference(normal(100, 3)))
    broken = [*state[:1], [10, *[11] * 20]]
    with pytest.raises(StateVersionError, match="whole numbers"):
        DriftCounts.from_state(broken, drift_reference(normal(100, 2)))


def test_training_says_where_the_features_of_all_rows_lay() -> None:
    rows = white_noise(1_500)
    model = train(rows, TrainingSettings(folds=2, rounds=5, patience=2))
    assert model.drift == drift_reference(rows.features)
    assert model.drift.rows == 1_500
    assert max(stability(model.drift, rows.features)) < 1e-4


def without_drift() -> bytes:
    """A manifest as it was written before there was any."""
    content = json.loads(seal(draft_manifest(described(), FILES)))
    del content["checksum"], content["drift"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps(content | {"checksum": digest(text.encode())}).encode()


def test_older_manifests_are_read_and_have_none() -> None:
    assert unseal(without_drift(), Manifest, "here") == draft_manifest(described(), FILES)


def test_a_manifest_holds_the_reference_bit_by_bit_and_stays_small() -> None:
    names = tuple(f"feature_{number}" for number in range(40))
    reference = drift_reference(normal(20_000, 40))
    told = described(feature_names=names, drift=reference)
    manifest = draft_manifest(told, FILES)
    data = seal(manifest)
    assert unseal(data, Manifest, "here").drift == reference
    assert plain(told).drift == reference
    bare = seal(draft_manifest(described(feature_names=names), FILES))
    print(f"{(len(data) - len(bare)) / 40:.0f} bytes a feature")
    assert len(data) - len(bare) < 400 * 40


def test_a_manifest_with_a_reference_of_other_features_is_refused() -> None:
    reference = drift_reference(normal(100, len(NAMES) - 1))
    with pytest.raises(ValueError, match="a drift reference of other features"):
        described(drift=reference, calibration=Calibration((), 1.0))
    content = json.loads(
        seal(draft_manifest(described(drift=drift_reference(normal(100, len(NAMES)))), FILES))
    )
    del content["checksum"]
    content["drift"]["counts"][0][0] += 1
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    changed = json.dumps(content | {"checksum": digest(text.encode())}).encode()
    with pytest.raises(CorruptModelError, match="same rows"):
        unseal(changed, Manifest, "here")
