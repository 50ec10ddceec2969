"""The same event again and again: so many lines of it a minute, then one that counts the others.

Beside `RepeatFilter`, which leaves out warnings whose text is the same: here lines count as one
that differ in what is put into their text, of any level, so that no loop fills a disk. How many
were left out is told when their minute is over, by a line of its own, also where nothing follows.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.observe.filters import REMEMBERED

#: Seconds in which lines of an event are counted.
WINDOW_SECONDS = 60.0
#: Characters of an event's last line that are told.
SAMPLE = 200
#: Its lines are what it delivers (the channel `log` of notifications): none may be lost.
DELIVERED = ("app.notify.log",)
#: Marks our own line, which is never left out.
_TOLD = "tells_of_others"

Later = Callable[[float, Callable[[], None]], None]


@dataclass(slots=True)
class _Window:
    """Lines of an event since `began`; what is known of those that were left out."""

    began: float
    lines: int = 0
    left_out: int = 0
    sample: str = ""


class RateFilter(logging.Filter):
    """Lets through `most` lines of an event in a minute, and what ends something always.

    An event is logger, level, agent, and the text before its arguments are put in. A line of level
    `critical`, or one with an exit code, ends something; a notification is no event of ours.

    Args:
        most: lines; 0: all.
        clock: monotonic seconds.
        later: calls a function after so many seconds, from any thread; None: a thread of its own,
            and at the end of the process.
    """

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
    ) -> None:
        super().__init__()
        self._most, self._clock = most, clock
        self._later = _in_a_thread if later is None else later
        self._lock = threading.Lock()
        self._windows: OrderedDict[tuple[Any, ...], _Window] = OrderedDict()
        self._awaited = False
        if later is None:
            atexit.register(self.tell)

    def filter(self, record: logging.LogRecord) -> bool:
        """Count a line, and say whether it is written."""
        event: Any = record.msg
        fields = event if isinstance(event, dict) else record.__dict__
        if not self._most or _TOLD in fields or _always(record, fields):
            return True
        text = str(event.get("event")) if isinstance(event, dict) else str(event)
        key = (record.name, record.levelno, fields.get("agent"), text)
        now = self._clock()
        over: list[tuple[tuple[Any, ...], _Window]] = []
        with self._lock:
            window = self._windows.pop(key, None)
            if window is None or now - window.began >= WINDOW_SECONDS:
                if window is not None:
                    over.append((key, window))
                window = _Window(now)
            self._windows[key] = window
            if len(self._windows) > REMEMBERED:
                over.append(self._windows.popitem(last=False))
            window.lines += 1
            passes = window.lines <= self._most
            if not passes:
                # What `RepeatFilter` had left out before it goes with it.
                window.left_out += 1 + int(fields.get("repeated", 0))
                window.sample = text if isinstance(event, dict) else record.getMessage()
            awaited, self._awaited = self._awaited, self._awaited or not passes
        if not passes and not awaited:
            self._later(WINDOW_SECONDS, self._look)
        self._tell(over)
        return passes

    def tell(self) -> None:
        """Say of all events what was left out, whether their minute is over or not."""
        with self._lock:
            over = list(self._windows.items())
            self._windows.clear()
        self._tell(over)

    def _look(self) -> None:
        """Say it of those whose minute is over; come again for the others."""
        now = self._clock()
        with self._lock:
            ended = {k: w for k, w in self._windows.items() if now - w.began >= WINDOW_SECONDS}
            for key in ended:
                del self._windows[key]
            rest = [each.began for each in self._windows.values() if each.left_out]
            self._awaited = bool(rest)
        self._tell(list(ended.items()))
        if rest:
            self._later(min(rest) + WINDOW_SECONDS - now, self._look)

    def _tell(self, over: list[tuple[tuple[Any, ...], _Window]]) -> None:
        for (name, level, agent, _), window in over:
            if not window.left_out:
                continue
            extra: dict[str, Any] = {_TOLD: True, "left_out": window.left_out}
            if agent is not None:
                extra["agent"] = agent
            logging.getLogger(name).log(
                level,
                "left out %d lines within %.0f s, the last one: %s",
                *(window.left_out, WINDOW_SECONDS, window.sample[:SAMPLE]),
                extra=extra,
            )


def _always(record: logging.LogRecord, fields: Any) -> bool:
    ends = record.levelno >= logging.CRITICAL or fields.get("exit_code") is not None
    return ends or record.name in DELIVERED


def _in_a_thread(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
