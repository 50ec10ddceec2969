"""The aggregate of one trade, for those that are taken one by one."""

from __future__ import annotations

from tables.columns import Columns
from tables.partial import ABSENT, INFINITY, Partial
from tables.policies import CLOSING, EXTREMES, LAST, VOLUME
from tables.sessions import Sessions
from tables.sums import to_units


def single_partial(trades: Columns, index: int, flags: int) -> Partial:
    """What one trade adds to a window, by its policy flags."""
    price = float(trades.price[index])
    size = to_units(float(trades.size[index]))
    extremes = bool(flags & EXTREMES)
    volume = bool(flags & VOLUME)
    key = (
        int(trades.time[index]),
        int(trades.sequence[index]),
        int(trades.offset[index]) if flags & LAST else ABSENT,
    )
    return Partial(
        int(volume),
        size if volume else 0,
        size if extremes else 0,
        to_units(price * float(trades.size[index])) if extremes else 0,
        price if extremes else -INFINITY,
        price if extremes else INFINITY,
        key,
        price,
        key,
        price,
        int(trades.source[index]),
    )


def session_window(time: int, length: int, sessions: Sessions) -> int:
    """Start of the window that holds the last nanosecond before the session end of a date."""
    return (sessions.end_of_date(time) - 1) // length * length


def is_amendment(
    flags: int, time: int, length: int, sessions: Sessions, correction_horizon: int
) -> bool:
    """Whether a trade belongs to the session's last window instead of its own.

    A closing print stamped the correction horizon after the session end, or later, stays in its
    own window: the session's last one is not kept for longer.
    """
    if not flags & CLOSING:
        return False
    end = sessions.end_of_date(time)
    if not end <= time < end + correction_horizon:
        return False
    return session_window(time, length, sessions) != time // length * length
