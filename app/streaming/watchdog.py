"""Ends a worker whose event loop or consumer has stopped turning, and says where it is stuck.

Such a worker goes on owning partitions: aiokafka sends heartbeats from a thread of its own while
the main loop does nothing, and a consumer whose coordination has ended fetches on without a group.
Nobody takes over, so it has to end, by exit code 1, for its supervisor. A hard end is as good as
any: what was not committed is read again. A broker that is away stops neither loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from app import exits

logger = logging.getLogger(__name__)

#: Seconds without an answer after which a loop is stuck. The longest honest work is some seconds.
STUCK_SECONDS = 60.0
#: Answers in a row that something else fails; a worker that ends for another reason needs a while.
FAILING_TIMES = 5
#: Seconds between two questions.
TICK_SECONDS = 1.0


@dataclass(slots=True)
class Watched:
    """An event loop, and how often it has not answered in a row."""

    name: str
    loop: asyncio.AbstractEventLoop
    thread: int
    answered: bool = True
    silent: int = 0

    def answer(self) -> None:
        """Called in the loop."""
        self.answered = True

    def ask(self) -> None:
        """Look at the last answer, ask anew.

        A process that was stopped for a while (SIGSTOP, a sleeping laptop) is not blamed for it:
        what counts are questions without an answer, not time.
        """
        self.silent = 0 if self.answered else self.silent + 1
        if self.answered:
            self.answered = False
            # A closed loop, whose thread has ended, says nothing more.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.answer)

    @property
    def place(self) -> str:
        """Where its thread is, innermost call last, on one line."""
        if self.loop.is_closed():
            return "its end: its thread is gone"
        frame = sys._current_frames().get(self.thread)
        calls = traceback.extract_stack(frame)[-4:] if frame is not None else []
        return " > ".join(f"{each.filename}:{each.lineno} {each.name}" for each in calls)


def end_hard(text: str) -> None:
    """Say it as every refusal is said, and end the process at once."""
    logger.critical("%s", text)
    sys.stderr.write(f"candlewick worker: {text}\n")
    sys.stderr.flush()
    os._exit(exits.FAILURE)


class Watchdog:
    """A thread of its own that asks loops whether they turn.

    Args:
        failing: asked each time; a text, given `FAILING_TIMES`, ends the worker with it.
        end: called once with what is wrong, in this thread.
        tick: seconds between two questions.
    """

    def __init__(
        self,
        failing: Callable[[], str | None] = lambda: None,
        end: Callable[[str], None] = end_hard,
        tick: float = TICK_SECONDS,
    ) -> None:
        self._failing = failing
        self._end = end
        self._tick = tick
        self._failed = 0
        self._watched: list[Watched] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, name: str, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Ask this loop too.

        Args:
            thread: identifier of the thread that the loop runs in.
        """
        self._watched.append(Watched(name, loop, thread))

    @property
    def started(self) -> bool:
        """Whether it watches, or has."""
        return self._thread is not None

    def start(self) -> None:
        """Begin to ask; once."""
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more: loops end when the worker does."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._tick):
            text = self._look()
            if text is not None and not self._stop.is_set():
                self._end(text)
                return

    def _look(self) -> str | None:
        for each in self._watched:
            each.ask()
            if each.silent * self._tick >= STUCK_SECONDS:
                return f"{each.name} is stuck for {each.silent * self._tick:.0f} s at {each.place}"
        text = self._failing()
        self._failed = 0 if text is None else self._failed + 1
        return text if self._failed >= FAILING_TIMES else None
