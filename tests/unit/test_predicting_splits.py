"""Walk-forward splits: no row is trained on whose answer lies in, or too near, the test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.predicting.splits import Times, hold_out, purged, walk_forward


@st.composite
def times(draw: st.DrawFn) -> tuple[Times, Times]:
    """Times with gaps and repeats, ascending, and labels at least 1 later."""
    steps = draw(st.lists(st.integers(0, 5), min_size=30, max_size=200))
    time = np.cumsum(np.array([1, *steps], dtype=np.int64))
    waits = draw(st.lists(st.integers(1, 20), min_size=len(time), max_size=len(time)))
    return time, time + np.array(waits, dtype=np.int64)


@given(times(), st.integers(1, 4), st.floats(0.2, 0.8), st.integers(0, 10))
def test_what_is_trained_on_is_known_before_the_test_and_the_embargo(
    drawn: tuple[Times, Times], folds: int, share: float, embargo: int
) -> None:
    time, label_time = drawn
    if len(np.unique(time)) < 20:
        return
    try:
        found = walk_forward(time, label_time, folds, share, embargo)
    except ValueError as error:
        assert "too few different times" in str(error)  # noqa: PT017
        return
    assert [fold.number for fold in found] == list(range(1, folds + 1))
    tested = np.concatenate([fold.testing for fold in found])
    assert tested.tolist() == list(range(int(tested[0]), len(time)))
    for fold in found:
        first = time[fold.testing[0]]
        before = set(range(int(fold.testing[0])))
        # Everything that may be trained on is, and nothing else.
        allowed = {row for row in before if label_time[row] < first - embargo}
        assert set(fold.training.tolist()) == allowed
        assert np.all(time[: fold.testing[0]] < first), "a time is on both sides"


@given(times(), st.floats(0.05, 0.95), st.integers(0, 10))
def test_a_tail_is_whole_times_and_about_as_large_as_asked(
    drawn: tuple[Times, Times], share: float, embargo: int
) -> None:
    time, label_time = drawn
    rows = np.arange(3, len(time), dtype=np.intp)
    earlier, last = hold_out(time, label_time, rows, share, embargo)
    assert last.tolist() == list(range(int(last[0]), len(time)))
    most = int(np.unique(time, return_counts=True)[1].max())
    assert share * len(rows) - 1 <= len(last) <= share * len(rows) + most
    assert set(earlier.tolist()) == {
        row for row in rows.tolist() if label_time[row] < time[last[0]] - embargo
    }


def test_a_label_known_at_the_first_time_of_the_test_is_not_trained_on() -> None:
    label_time = np.array([8, 9, 10, 11], dtype=np.int64)
    rows = np.arange(4, dtype=np.intp)
    assert purged(label_time, rows, 10).tolist() == [0, 1]
    assert purged(label_time, rows, 10, embargo=1).tolist() == [0]


def test_tests_follow_one_another_and_training_grows() -> None:
    time = np.arange(100, dtype=np.int64)
    folds = walk_forward(time, time + 2, 5, 0.5, embargo=3)
    assert [(int(f.testing[0]), int(f.testing[-1])) for f in folds] == [
        (50, 59), (60, 69), (70, 79), (80, 89), (90, 99),
    ]  # fmt: skip
    assert [int(f.training[-1]) for f in folds] == [44, 54, 64, 74, 84]
    assert all(f.training[0] == 0 for f in folds)


@pytest.mark.parametrize(
    ("count", "folds", "share", "embargo", "said"),
    [
        (100, 0, 0.5, 0, "folds 0"),
        (100, 2, 1.0, 0, "first share 1.0"),
        (100, 2, 0.5, -1, "embargo -1"),
        (0, 2, 0.5, 0, "no rows"),
        (3, 3, 0.5, 0, "too few different times for 3 folds"),
    ],
)
def test_what_cannot_be_split_is_named(
    count: int, folds: int, share: float, embargo: int, said: str
) -> None:
    time = np.arange(count, dtype=np.int64)
    with pytest.raises(ValueError, match=said):
        walk_forward(time, time + 1, folds, share, embargo)


def test_a_share_that_is_none_is_named() -> None:
    time = np.arange(9, dtype=np.int64)
    with pytest.raises(ValueError, match="share is 0"):
        hold_out(time, time + 1, np.arange(9, dtype=np.intp), 0)


def test_rows_of_one_time_cannot_be_split() -> None:
    time = np.ones(50, dtype=np.int64)
    with pytest.raises(ValueError, match="too few different times"):
        walk_forward(time, time + 1, 1)
