"""Again and again: when something is due, and a loop that outlives its failures.

`Schedule` and `repeat` know no clock and no signals; both are given. `Signals` are the ones of the
operating system.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Final

from app.durations import NANOSECONDS

SECOND: Final = NANOSECONDS["s"]
#: The clock is looked at so often, s: it may be set, and a machine may sleep.
_LOOK: Final = 60.0

Clock = Callable[[], int]


class StoppedError(Exception):
    """A run was given up because it was asked to stop."""


@dataclass(frozen=True)
class Schedule:
    """When runs are due; all times in ns.

    Attributes:
        every: above 0.
    """

    every: int

    def first(self, last: int | None, now: int) -> int:
        """Return when the first run is due: now, or so long after the last one, if there was one.

        A last run in the future is of another clock: it does not count for longer than one from
        now would.
        """
        if last is None:
            return now
        return max(now, min(last, now) + self.every)

    def after(self, planned: int, now: int) -> int:
        """Return the next time: a whole number of `every` after a planned one, later than now.

        So runs do not drift by their own length, and those that were missed are left out.
        """
        return planned + max(1, (now - planned) // self.every + 1) * self.every


def repeat(
    schedule: Schedule,
    last: int | None,
    run: Callable[[], object],
    *,
    clock: Clock,
    wait: Callable[[int], bool],
    due: Callable[[int], None],
    failed: Callable[[Exception], None],
) -> None:
    """Run whenever it is due, until stopped; what fails is tried again at the next time.

    Args:
        schedule: when.
        last: when it was done last, ns; None for never.
        run: raises `StoppedError` to end.
        clock: now, ns.
        wait: until a time in ns; True ends.
        due: is told the next time, ns.
        failed: is told errors.
    """
    planned = schedule.first(last, clock())
    while True:
        due(planned)
        if wait(planned):
            return
        try:
            run()
        except StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - told; a timer outlives whatever fails
            failed(error)
        planned = schedule.after(planned, clock())


class Signals:
    """SIGINT and SIGTERM ask to stop; the second one does what it did before."""

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        """Take the signals; in the main thread."""
        # What wakes a `select` also if the signal comes just before it.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._restore()
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def wait(self, until: int, clock: Clock) -> bool:
        """Wait until a time (ns) of a clock; True as soon as a signal has come."""
        while not self.came and (left := until - clock()) > 0:
            ready, _, _ = select.select([self._read], [], [], min(left / SECOND, _LOOK))
            if ready:
                os.read(self._read, 64)
        return self.came

    def check(self) -> None:
        """Give up what runs, if a signal has come.

        Raises:
            StoppedError: one has.
        """
        if self.came:
            raise StoppedError
