"""When a training is due, and that nothing but a stop ends the loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from app.training.timing import Schedule, Signals, StoppedError, repeat

DAY = Schedule(24)


@pytest.mark.parametrize(
    ("last", "now", "first"),
    [
        (None, 100, 100),
        (100, 100, 124),
        (90, 100, 114),
        (76, 100, 100),
        (1, 100, 100),
        (500, 100, 124),
    ],
)
def test_the_first_run_is_now_or_so_long_after_the_last(
    last: int | None, now: int, first: int
) -> None:
    assert DAY.first(last, now) == first


@pytest.mark.parametrize(
    ("now", "after"), [(100, 124), (101, 124), (123, 124), (124, 148), (200, 220), (50, 124)]
)
def test_the_next_run_keeps_to_the_plan_whatever_the_run_took(now: int, after: int) -> None:
    assert DAY.after(100, now) == after


class World:
    """A clock that stands still but for waits, and runs that take as long as they say."""

    def __init__(self, runs: list[tuple[int, Exception | None]]) -> None:
        self.now = 1_000
        self.runs = runs
        self.began: list[int] = []
        self.due: list[int] = []
        self.faults: list[str] = []

    def wait(self, until: int) -> bool:
        self.now = max(self.now, until)
        return not self.runs

    def run(self) -> None:
        self.began.append(self.now)
        length, error = self.runs.pop(0)
        self.now += length
        if error is not None:
            raise error

    def go(self, last: int | None = None) -> None:
        repeat(
            DAY,
            last,
            self.run,
            clock=lambda: self.now,
            wait=self.wait,
            due=self.due.append,
            failed=lambda error: self.faults.append(str(error)),
        )


def test_runs_do_not_drift_and_missed_ones_are_left_out() -> None:
    world = World([(5, None), (3, None), (60, None), (1, None)])
    world.go()
    assert world.began == [1_000, 1_024, 1_048, 1_120]
    assert world.due == [*world.began, 1_144]


def test_a_failure_is_told_and_tried_again_at_the_next_time() -> None:
    world = World([(1, ValueError("one")), (1, OSError("two")), (1, None)])
    world.go()
    assert world.began == [1_000, 1_024, 1_048]
    assert world.faults == ["one", "two"]


def test_after_a_restart_it_is_not_done_again_too_early() -> None:
    world = World([(1, None)])
    world.go(last=990)
    assert world.began == [1_014]


def test_a_run_that_is_given_up_ends_it() -> None:
    world = World([(1, StoppedError()), (1, None)])
    world.go()
    assert world.began == [1_000]
    assert world.faults == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait_and_gives_a_run_up(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Signals() as signals:
        signals.check()
        assert not signals.wait(5, lambda: 5)
        os.kill(os.getpid(), number)
        assert signals.wait(10**19, lambda: 0)
        with pytest.raises(StoppedError):
            signals.check()
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_a_signal_that_comes_while_it_waits_ends_the_wait() -> None:
    clock = _alarm_after_first_look()
    with Signals() as signals:
        assert signals.wait(10**19, clock)


def _alarm_after_first_look() -> Callable[[], int]:
    """A clock by whose first look the signal is on its way: the wait is entered with it pending."""

    def clock() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    return clock


def test_other_wake_ups_do_not_end_a_wait() -> None:
    looks = iter([0, 0, 20])
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not signals.wait(10, lambda: next(looks))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]
