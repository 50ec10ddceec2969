"""The pauses that `tests.bench.rebalances` prints, computed from append times."""

from __future__ import annotations

import inspect

import pytest

from tests.bench.pauses import Happening, describe, longest_pause, pauses
from tests.bench.traced_steps import STEPS

TIMES = [1.0, 1.5, 4.0, 4.5, 10.0, 10.5]


@pytest.mark.parametrize(("owner", "name", "step"), STEPS)
def test_what_is_timed_is_there(owner: object, name: str, step: str) -> None:
    assert inspect.iscoroutinefunction(getattr(owner, name)), step


def test_a_pause_belongs_to_the_span_in_which_it_ends() -> None:
    assert longest_pause(0, TIMES, 3.0, 6.0).seconds == 2.5
    assert longest_pause(0, TIMES, 6.0, 11.0).seconds == 5.5
    assert longest_pause(0, TIMES, 4.1, 5.0).seconds == 0.5


def test_one_that_has_no_end_is_cut_at_the_spans() -> None:
    assert longest_pause(0, TIMES, 4.6, 9.5).seconds == 5.0
    assert longest_pause(0, [], 2.0, 5.0).seconds == 3.0


def test_partitions_that_have_another_worker_have_moved() -> None:
    change = Happening("join", "c", 3.0, 5.0, {0: "a", 1: "a", 2: "b"}, {0: "a", 1: "c", 2: "b"})
    assert change.moved == {1}
    found = pauses({0: TIMES, 1: TIMES[:2], 2: TIMES}, 3.0, 6.0, change.after)
    assert [pause.partition for pause in found] == [0, 1, 2]
    assert found[1].seconds == 4.5


def test_median_and_worst_are_told_and_nothing_is_a_dash() -> None:
    assert describe([1.0, 2.0, 9.0]).split() == ["2.00", "9.00"]
    assert describe([]).split() == ["-", "-"]
