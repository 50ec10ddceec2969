"""Conformal intervals: the quantile against a naive one, coverage where it must hold."""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.predicting.conformal import (
    AdaptiveInterval,
    Calibration,
    Intervals,
    Outcome,
    ResidualScale,
    calibrate,
    conformal_quantile,
    walk_intervals,
)

Floats = npt.NDArray[np.float64]
SAMPLES = 4_000
scores = st.lists(st.floats(0, 1e6), max_size=60).map(sorted)
#: Levels as people write them.
levels = st.integers(0, 100).map(lambda percent: Fraction(percent, 100))


def naive_quantile(values: list[float], alpha: Fraction) -> float | None:
    """The least score with (n + 1)(1 - alpha) scores or more that are not above it."""
    wanted = (len(values) + 1) * (1 - alpha)
    if wanted <= 0:
        return 0.0
    for value in values:
        if sum(each <= value for each in values) >= wanted:
            return value
    return None


@given(scores, levels)
def test_the_quantile_is_the_naive_one(values: list[float], alpha: Fraction) -> None:
    assert conformal_quantile(values, float(alpha)) == naive_quantile(values, alpha)


@pytest.mark.parametrize(
    ("count", "alpha", "expected"),
    [
        (0, 0.1, None),
        (8, 0.1, None),  # 9 x 0.9 = 8.1 of 8
        (9, 0.1, 9.0),
        (10, 0.1, 10.0),  # 9.9
        (19, 0.1, 18.0),
        (9, 0.3, 7.0),  # not 8: 10 x 0.7 is 7
        (99, 0.05, 95.0),
        (1, 0.5, 1.0),
        (5, 1.0, 0.0),
        (5, 1.2, 0.0),
        (5, 0.0, None),
        (5, -0.01, None),
    ],
)
def test_the_quantile_at_its_edges(count: int, alpha: float, expected: float | None) -> None:
    assert conformal_quantile([float(each) for each in range(1, count + 1)], alpha) == expected


@given(st.lists(st.floats(0, 1e6), min_size=20, max_size=300).map(sorted), st.integers(3, 19))
def test_thinned_scores_never_give_narrower_intervals(values: list[float], most: int) -> None:
    whole = Calibration(tuple(values), 1.0)
    thinned = whole.thinned(most)
    assert len(thinned.scores) == most
    for percent in range(0, 101, 5):
        wide, narrow = thinned.quantile(percent / 100), whole.quantile(percent / 100)
        assert wide is None or (narrow is not None and wide >= narrow)
    assert whole.thinned(len(values)) is whole


def test_thinning_a_large_calibration_changes_the_usual_levels_little() -> None:
    chance = np.random.default_rng(1)
    whole = Calibration(tuple(np.sort(np.abs(chance.standard_normal(50_000))).tolist()), 1.0)
    thinned = whole.thinned()
    for alpha in (0.5, 0.1, 0.05, 0.01):
        wide, narrow = thinned.quantile(alpha), whole.quantile(alpha)
        assert wide is not None
        assert narrow is not None
        assert 0 <= wide - narrow < 0.02


@pytest.mark.parametrize(
    ("values", "scale"),
    [((2.0, 1.0), 1.0), ((-1.0,), 1.0), ((1.0, math.inf), 1.0), ((1.0,), -1.0),
     ((1.0,), math.nan), ((1.0, math.nan), 1.0)],
)  # fmt: skip
def test_a_calibration_of_what_are_no_scores_is_refused(
    values: tuple[float, ...], scale: float
) -> None:
    with pytest.raises(ValueError, match="calibration scores"):
        Calibration(values, scale)


def walked(
    residual: Floats, *, horizon: int = 1, symbols: int = 1, rate: float = 0.005
) -> Intervals:
    """Calibrated on the first 1,000 rows, walked over the others; predictions are 0."""
    count = len(residual)
    time = np.repeat(np.arange(count // symbols, dtype=np.int64), symbols)
    label_time = time + horizon
    symbol = np.tile(np.arange(symbols, dtype=np.int32), count // symbols)
    first = slice(0, 1_000)
    calibration = calibrate(time[first], label_time[first], symbol[first], residual[first])
    rest = slice(1_000, None)
    return walk_intervals(
        time[rest], label_time[rest], symbol[rest], np.zeros(count - 1_000), residual[rest],
        calibration.thinned(), rate=rate,
    )  # fmt: skip


def exchangeable(chance: np.random.Generator) -> Floats:
    return chance.standard_t(4, SAMPLES + 1_000)


def growing(chance: np.random.Generator) -> Floats:
    """The deviation grows to tenfold."""
    return chance.standard_normal(SAMPLES + 1_000) * np.geomspace(1, 10, SAMPLES + 1_000)


def jumping(chance: np.random.Generator) -> Floats:
    """Three times as wild from one sample to the next, and back, every 700."""
    wild = np.arange(SAMPLES + 1_000) // 700 % 2
    return chance.standard_normal(SAMPLES + 1_000) * (1 + 2 * wild)


def clustered(chance: np.random.Generator) -> Floats:
    """A GARCH(1,1), persistent as returns of minutes are."""
    found, variance = np.zeros(SAMPLES + 1_000), 1.0
    for row, noise in enumerate(chance.standard_normal(len(found))):
        found[row] = math.sqrt(variance) * noise
        variance = 0.02 + 0.08 * found[row] ** 2 + 0.9 * variance
    return found


def biased(chance: np.random.Generator) -> Floats:
    """The model grows wrong in one direction."""
    return chance.standard_normal(SAMPLES + 1_000) + np.linspace(0, 3, SAMPLES + 1_000)


@pytest.mark.parametrize("kind", [exchangeable, growing, jumping, clustered, biased])
@pytest.mark.parametrize("horizon", [1, 10])
def test_intervals_of_90_percent_hold_88_to_92(kind: object, horizon: int) -> None:
    assert callable(kind)
    for seed in (1, 2, 3):
        found = walked(kind(np.random.default_rng(seed)), horizon=horizon)
        assert len(found.covered) == SAMPLES
        assert 0.88 <= found.coverage <= 0.92, (kind, seed)


def test_split_conformal_alone_holds_where_residuals_are_exchangeable() -> None:
    for seed in (1, 2, 3):
        found = walked(exchangeable(np.random.default_rng(seed)), rate=0.0)
        assert 0.88 <= found.coverage <= 0.92


def test_symbols_of_other_sizes_are_each_covered() -> None:
    chance = np.random.default_rng(4)
    sizes = np.tile([1e-5, 1e-4, 1e-3], 3_000)
    found = walked(chance.standard_normal(9_000) * sizes, symbols=3)
    for symbol in range(3):
        inside = found.covered[np.arange(len(found.covered)) % 3 == (symbol - 1_000) % 3]
        assert 0.88 <= inside.mean() <= 0.92
    widths = found.high - found.low
    assert np.nanmedian(widths[sizes[1_000:] == 1e-3]) > 50 * np.median(
        widths[sizes[1_000:] == 1e-5]
    )


def test_level_and_scale_follow_the_formulas() -> None:
    calibration = Calibration(tuple(float(each) for each in range(1, 100)), 2.0)
    learner = AdaptiveInterval(calibration, 0.1, 0.01)
    assert learner.value.half_width == 90 * 2.0
    assert learner.value.coverage is None
    learner.update(Outcome(1.0, 0.0, 2.0, 5.0))  # missed; residual 4
    assert learner.value.alpha == pytest.approx(0.1 + 0.01 * (0.1 - 1))
    scale = 2.0 + (4.0 - 2.0) / 11
    assert learner.value.half_width == pytest.approx(91 * scale)  # ceil(100 x 0.909)
    learner.update(Outcome(1.0, 0.0, 2.0, 2.0))  # on the bound is inside
    assert learner.value.alpha == pytest.approx(0.092)
    assert (learner.value.coverage, learner.value.outcomes) == (0.5, 2)
    assert learner.value.interval(7.0) == pytest.approx(
        (7 - learner.value.half_width, 7 + learner.value.half_width)
    )


def test_no_finite_interval_is_said_and_counts_as_covered() -> None:
    learner = AdaptiveInterval(Calibration((1.0, 2.0), 1.0), 0.1)
    assert learner.value.half_width is None
    assert learner.value.interval(3.0) == (None, None)
    learner.update(Outcome(3.0, None, None, 1e9))
    assert learner.value.coverage == 1.0


def test_the_level_stays_bounded_where_nothing_is_ever_missed() -> None:
    learner = AdaptiveInterval(Calibration((0.0,) * 50, 0.0), 0.1, 0.5)
    for _ in range(1_000):
        learner.update(Outcome(0.0, 0.0, 0.0, 0.0))
    assert learner.value.alpha == 1.5
    assert learner.value.half_width == 0.0


def test_one_outlier_does_not_widen_the_scale_without_end() -> None:
    scale = ResidualScale(1.0)
    for _ in range(200):
        scale.learn(1.0)
    scale.learn(1e9)
    assert scale.value == pytest.approx(1.09)


def test_an_interval_knows_nothing_of_outcomes_that_come_later() -> None:
    chance = np.random.default_rng(9)
    residual = chance.standard_normal(2_000)
    other = residual.copy()
    other[1_500:] *= 100
    one, two = walked(residual, horizon=5), walked(other, horizon=5)
    # Row 1,500 is known to the interval of row 1,505, and not before.
    assert one.low[:505].tolist() == two.low[:505].tolist()
    assert one.low[505] != two.low[505]


@pytest.mark.parametrize(("alpha", "rate"), [(0.0, 0.1), (1.0, 0.1), (0.1, -0.1), (0.1, 1.0)])
def test_levels_and_rates_out_of_bounds_are_refused(alpha: float, rate: float) -> None:
    with pytest.raises(ValueError, match="expected within 0 and 1"):
        AdaptiveInterval(Calibration((), 0.0), alpha, rate)
