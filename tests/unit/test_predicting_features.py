"""Feature sets: what comes out, what the hash covers, how revisions and restarts are taken."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from app.contracts.wire import BarRecord
from models.predicting.building import LiveSeries
from models.predicting.features_plan import Feature, FeatureSetError, make_plan
from models.predicting.features_registry import feature_sets, find_feature_set, search_features
from models.predicting.features_returns import Returns
from models.predicting.features_series import FeatureSeries
from models.predicting.features_terms import (
    Change,
    Computed,
    Cosine,
    Deviation,
    Difference,
    Mean,
    Node,
    Product,
    Ratio,
    Reading,
    Scaled,
    SessionElapsed,
    Share,
    Sine,
    Step,
    Term,
    TimeOfDay,
)
from models.predicting.featuresets import FeatureRow, FeatureSet, InputError, matrix_of
from tables.indicators.base import MINUTE, sample_bars
from tables.indicators.sets import Outcome
from tables.learning import StateVersionError
from tables.markets import SessionMarket

CLOSE, VOLUME = Reading("CLOSE"), Reading("VOLUME")


def middle(closes: list[float]) -> float:
    return statistics.median(closes)


class Parts(FeatureSet):
    """One feature of each term."""

    NAME = "parts"

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (
            Feature("close", CLOSE),
            Feature("change", Change(CLOSE, 2)),
            Feature("difference", Difference(CLOSE, 2)),
            Feature("mean", Mean(CLOSE, 3)),
            Feature("itself", Mean(CLOSE, 1)),
            Feature("deviation", Deviation(CLOSE, 3)),
            Feature("ratio", Ratio(VOLUME, CLOSE)),
            Feature("share", Share(VOLUME, CLOSE)),
            Feature("scaled", Scaled(CLOSE, 2.0, 1.0)),
            Feature("product", Product(CLOSE, VOLUME)),
            Feature("sine", Sine(TimeOfDay())),
            Feature("cosine", Cosine(TimeOfDay())),
            Feature("elapsed", SessionElapsed()),
            Feature("median", Computed(middle, (CLOSE,), 3)),
            Feature("now", Computed(middle, (CLOSE,))),
            Feature("nested", Mean(Change(CLOSE, 1), 2)),
        )


def rows_of(features: FeatureSet, closes: Sequence[float | None]) -> list[FeatureRow | None]:
    rows = []
    for number, close in enumerate(closes):
        features.update((number * 6 * 3_600_000_000_000, {"CLOSE": close, "VOLUME": 4.0}))
        rows.append(features.value)
    return rows


def test_each_term_computes_what_it_says() -> None:
    rows = rows_of(Parts(), [10.0, 20.0, 40.0, 20.0])
    assert rows[:2] == [None, None]
    assert rows[3] is not None
    got = dict(zip(Parts.plan().names, rows[3], strict=True))
    assert got == pytest.approx(
        {
            "close": 20.0,
            "change": 0.0,
            "difference": 0.0,
            "mean": 80 / 3,
            "itself": 20.0,
            "deviation": statistics.pstdev([20.0, 40.0, 20.0]),
            "ratio": 4 / 20 - 1,
            "share": 0.2,
            "scaled": 41.0,
            "product": 80.0,
            "sine": -1.0,
            "cosine": 0.0,
            "elapsed": 0.75,
            "median": 20.0,
            "now": 20.0,
            "nested": (1.0 - 0.5) / 2,
        }
    )


def test_the_warm_up_is_what_the_indicators_and_the_windows_need() -> None:
    assert Parts.plan().warm_up == 3
    assert Parts.plan().depth == 2
    assert Returns.plan().warm_up == 50
    plan = make_plan("one", 1, [Feature("x", Mean(Change(Reading("EMA(12)"), 5), 10))])
    assert (plan.warm_up, plan.depth) == (12 + 5 + 9, 14)
    values = Returns()
    for number, item in enumerate(Returns.sample(1, 60), 1):
        values.update(item)
        assert values.ready == (number >= 50)


def test_every_feature_of_the_built_in_set_has_a_value_in_ordinary_times() -> None:
    features = Returns()
    for item in Returns.sample(2, 500):
        features.update(item)
        if features.value is not None:
            assert None not in features.value
    assert 20 <= len(Returns.plan().names) <= 40


def test_nothing_comes_of_what_is_not_above_zero_and_of_what_is_missing() -> None:
    rows = rows_of(Parts(), [10.0, 0.0, -5.0, None, 20.0])
    names = Parts.plan().names
    after = dict(zip(names, rows[2] or (), strict=True))
    assert after["share"] is None
    assert after["change"] == -1.5
    assert after["nested"] is None
    missing = dict(zip(names, rows[3] or (), strict=True))
    assert missing["close"] is missing["mean"] is missing["median"] is None
    assert missing["sine"] is not None
    matrix = matrix_of([row for row in rows if row is not None])
    assert matrix.dtype == np.float32
    assert np.isnan(matrix[1, names.index("close")])


def test_features_do_not_depend_on_the_price_of_a_share() -> None:
    cheap, dear = LiveSeries(Returns), LiveSeries(Returns)
    for bar in sample_bars(3, 120):
        prices = {name: getattr(bar, name) * 1024 for name in ("open", "high", "low", "close")}
        vwap = None if bar.vwap is None else bar.vwap * 1024
        one, two = cheap.take(bar), dear.take(msgspec.structs.replace(bar, vwap=vwap, **prices))
        assert one == (None if two is None else pytest.approx(two, rel=1e-9, abs=1e-12))


def test_the_session_is_that_of_the_market() -> None:
    opened = 1_780_493_400_000_000_000  # 2026-06-03 13:30 UTC, 9:30 in New York.
    parts = [(opened, opened + 390 * MINUTE)]
    features = Parts(SessionMarket("NYSE", "America/New_York", [(date(2026, 6, 3), parts)]))
    got = []
    for start in (opened - MINUTE, opened, opened + 195 * MINUTE, opened + 3 * 1440 * MINUTE):
        for _ in range(3):
            features.update((start, {"CLOSE": 1.0, "VOLUME": 1.0}))
        assert features.value is not None
        got.append(features.value[Parts.plan().names.index("elapsed")])
    assert got == [-1 / 390, 0.0, 0.5, None]


def test_a_missing_indicator_is_named_and_nothing_is_taken() -> None:
    features = Parts()
    rows_of(features, [1.0, 2.0, 3.0])
    before = features.state()
    with pytest.raises(InputError, match=r"parts@1:\w+: no VOLUME among the indicators"):
        features.update((0, {"CLOSE": 1.0}))
    assert features.state() == before
    assert Parts.missing(["CLOSE"]) == ("VOLUME",)


# --- the hash


def hash_of(*features: Feature, name: str = "one", version: int = 1) -> str:
    return make_plan(name, version, features).hash


def test_the_hash_is_one_over_runs_and_releases() -> None:
    """When this fails, a term or the set has changed: raise TERMS_VERSION or the set's VERSION."""
    declared = (Feature("x", Change(CLOSE, 2)), Feature("y", Scaled(Reading("RSI(14)"), 0.01)))
    assert hash_of(*declared) == "065f22eff07c4710"
    assert Returns.plan().label == "returns@1:f9d1704e66f5b3d0"


def test_any_change_of_what_is_declared_changes_the_hash() -> None:
    features = (Feature("x", Change(CLOSE, 2)), Feature("y", Scaled(Reading("RSI(14)"), 0.01)))
    first, second = features
    hashes = [
        hash_of(*features),
        hash_of(*features, name="two"),
        hash_of(*features, version=2),
        hash_of(second, first),
        hash_of(first),
        hash_of(replace(first, name="z"), second),
        hash_of(Feature("x", Change(CLOSE, 3)), second),
        hash_of(Feature("x", Difference(CLOSE, 2)), second),
        hash_of(Feature("x", Change(VOLUME, 2)), second),
        hash_of(first, Feature("y", Scaled(Reading("RSI(15)"), 0.01))),
        hash_of(first, Feature("y", Scaled(Reading("RSI(14)"), 0.01, 0.5))),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_of(replace(first, about="in other words"), second) == hashes[0]


def test_the_code_of_a_term_of_ones_own_is_in_the_hash_and_comments_are_not() -> None:
    def first(closes: list[float]) -> float:
        """Say it."""
        # As it is.
        return closes[0] + 1

    one = hash_of(Feature("x", Computed(first, (CLOSE,))))

    def first(closes: list[float]) -> float:  # type: ignore[no-redef]
        """Say it otherwise."""
        return closes[0] + 1

    assert hash_of(Feature("x", Computed(first, (CLOSE,)))) == one

    def first(closes: list[float]) -> float:  # type: ignore[no-redef]
        return closes[0] + 2

    assert hash_of(Feature("x", Computed(first, (CLOSE,)))) != one


def test_terms_of_ones_own_need_only_fields_and_bind() -> None:
    @dataclass(frozen=True)
    class Twice(Term):
        of: Node

        def bind(self, *places: int) -> Step:
            (of,) = places
            return lambda now, past: 2 * now[of]

    class Mine(FeatureSet):
        NAME = "mine"

        @classmethod
        def declare(cls) -> Sequence[Feature]:
            return (Feature("x", Twice(Mean(CLOSE, 2))),)

    features = Mine()
    for close in (1.0, 2.0):
        features.update((0, {"CLOSE": close}))
    assert features.value == (3.0,)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((), "features none; expected names"),
        ((Feature("x", CLOSE), Feature("x", CLOSE)), "'x'.*each once"),
        ((Feature("No Name", CLOSE),), "No Name"),
        ((Feature("x", Reading("NO_SUCH(3)")),), "there is no 'NO_SUCH'"),
        (
            (Feature("x", Reading("MACD(12,26,9).sign")),),
            r"no output MACD.*expected one of .*signal",
        ),
        ((Feature("x", Reading("RSI(0)")),), "RSI: length is"),
        ((Feature("x", Reading("RSI 14")),), "'RSI 14' is no reading"),
        ((Feature("x", Computed(sum, (CLOSE,))),), "cannot be hashed"),
    ],
)
def test_a_wrong_declaration_is_one_line(features: tuple[Feature, ...], message: str) -> None:
    with pytest.raises(FeatureSetError, match=message) as caught:
        make_plan("wrong", 1, features)
    assert "\n" not in str(caught.value)


# --- by name


def test_sets_are_found_by_name_version_and_module() -> None:
    assert find_feature_set("returns") is Returns
    assert find_feature_set("returns@1") is Returns
    assert find_feature_set(f"{__name__}:parts@1") is Parts
    assert list(feature_sets((__name__,))) == ["parts@1", "returns@1"]
    for written, message in {
        "returns@2": "no feature set 'returns@2'; there are returns@1",
        "nothing": "there are returns@1",
        "no_such_module:calm": "cannot be imported",
        "tables.learning:calm": "defines no feature set",
        "what is it": "expected NAME",
        f"{__name__}:returns": "no feature set",
    }.items():
        with pytest.raises(FeatureSetError, match=message):
            find_feature_set(written)


def test_features_are_searched_by_words_of_all_that_is_said_of_them() -> None:
    found = [each.feature.name for each in search_features("rsi")]
    assert found == ["rsi_14", "rsi_x_volume"]
    assert [each.feature_set for each in search_features("interaction elapsed")] == ["returns@1"]
    assert list(search_features("no such thing")) == []


# --- revisions and restarts, as the agent meets them


def with_close(bar: BarRecord, close: float, revision: int) -> BarRecord:
    return msgspec.structs.replace(
        bar,
        close=close,
        high=max(bar.high, close),
        low=min(bar.low, close),
        revision=revision,
    )


def emptied(bar: BarRecord, revision: int) -> BarRecord:
    return msgspec.structs.replace(bar, filled=True, trades=0, volume=0.0, revision=revision)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["plain", "revised", "emptied", "back", "repeated", "gap", "restart"]),
            st.floats(50, 150),
        ),
        min_size=12,
        max_size=40,
    )
)
def test_whatever_happens_to_the_last_bar_the_rows_are_those_of_its_highest_revision(
    happenings: list[tuple[str, float]],
) -> None:
    series = LiveSeries(Parts)
    kept: list[BarRecord] = []
    for bar, (what, close) in zip(sample_bars(5, len(happenings)), happenings, strict=True):
        if what == "gap":
            continue
        row = series.take(bar)
        final: BarRecord | None = bar
        if what == "revised":
            final = with_close(bar, close, 1)
            row = series.take(final)
        elif what == "emptied":
            final = None
            assert series.take(emptied(bar, 1)) is None
        elif what == "back":
            final = with_close(bar, close, 2)
            series.take(emptied(bar, 1))
            row = series.take(final)
        elif what == "repeated":
            assert series.take(with_close(bar, close, 0)) == row
        elif what == "restart":
            state = json.loads(json.dumps(series.features.state(), allow_nan=False))
            series.features = FeatureSeries.from_state(state, Parts)
        if final is not None:
            kept.append(final)
        plain = LiveSeries(Parts)
        rows = [plain.take(each) for each in kept]
        assert final is None or repr(row) == repr(rows[-1])
        assert series.features.features.value == plain.features.features.value
    assert series.features.exact


def test_what_is_older_or_repeated_is_ignored() -> None:
    series = FeatureSeries(Parts)
    values = {"CLOSE": 1.0, "VOLUME": 1.0}
    assert series.take(10, 0, values) is Outcome.NEW
    assert series.take(10, 0, values) is Outcome.REPEATED
    assert series.take(9, 5, values) is Outcome.OLDER
    assert series.take(10, 1, values) is Outcome.REVISED
    assert series.take(10, 2, None) is Outcome.EMPTIED
    with pytest.raises(InputError):
        series.take(11, 0, {})
    assert series.start == 10


def test_a_row_is_inexact_until_every_window_has_forgotten() -> None:
    series = FeatureSeries(Parts)
    values = {"CLOSE": 1.0, "VOLUME": 1.0}
    exact = []
    for start in range(8):
        series.take(start, 0, values, exact=start != 2)
        if start == 3:
            series.take(start, 1, values)
        exact.append(series.exact)
    assert exact == [True, True, False, False, False, True, True, True]


def test_a_state_of_other_features_is_refused() -> None:
    class Other(Parts):
        @classmethod
        def declare(cls) -> Sequence[Feature]:
            return (Feature("close", CLOSE),)

    state = FeatureSeries(Parts).state()
    with pytest.raises(StateVersionError, match="hash"):
        FeatureSeries.from_state(state, Other)
    with pytest.raises(StateVersionError, match="version 2"):
        FeatureSeries.from_state([2, *state[1:]], Parts)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=False, width=64) | st.none(), min_size=4, max_size=30))
def test_what_comes_out_fits_float32_whatever_goes_in(closes: list[float | None]) -> None:
    features = Parts()
    for row in rows_of(features, closes):
        assert all(value is None or math.isfinite(np.float32(value)) for value in row or ())
    json.dumps(features.state(), allow_nan=False)
