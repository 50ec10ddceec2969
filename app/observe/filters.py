"""What is left out of the logs: what is said elsewhere, and what has just been said."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from app.exits import operator_error_in

#: Seconds in which the same warning is told once.
REPEAT_SECONDS = 10.0
#: Different warnings remembered; the one not heard of for longest goes first.
REMEMBERED = 1_000
#: A partition is short of replicas if it is refused for so long, and with shorter gaps than that.
SHORT_SECONDS, GAP_SECONDS = 2.0, 1.0
#: Our loggers.
OURS = ("app.", "agents.", "tables.", "models.")
_NUMBER = re.compile(r"\d+(\.\d+)?")


#: When (monotonic) a partition has last taken what was sent to it, of all producers.
_taken: dict[object, float] = {}


def note_taken(partitions: Iterable[object], now: float) -> None:
    """Remember that partitions (`TopicPartition`s) have taken records; `now` is monotonic."""
    _taken.update(dict.fromkeys(partitions, now))


class RefusalFilter(logging.Filter):
    """Leaves out what mode says of a refusal, traceback by traceback: the worker says it once."""

    def __init__(self) -> None:
        super().__init__()
        self._refused = False

    def filter(self, record: logging.LogRecord) -> bool:
        told = [record.exc_info[1]] if record.exc_info else []
        if isinstance(record.args, tuple):
            told += [each for each in record.args if isinstance(each, BaseException)]
        if any(operator_error_in(error) is not None for error in told):
            self._refused = True
            return False
        # Services, also ours, log through mode: "[^-App]: ...".
        of_mode = record.name.startswith(("mode", "faust")) or str(record.msg).startswith("[^")
        return not (self._refused and of_mode)


class ServiceFilter(logging.Filter):
    """Leaves out what mode says of our services ("[^-App]: Starting...") where Faust's is, too.

    A subclass of ours logs under its own module's name, so the level of `faust` does not reach it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        service = record.levelno <= logging.INFO and str(record.msg).startswith("[^")
        return not service or logging.getLogger("faust").isEnabledFor(record.levelno)


class RetryFilter(logging.Filter):
    """Leaves out what aiokafka says of a partition that is short of replicas for a moment only.

    Kafka 4 gives an older client that error while the marker of its previous transaction is on its
    way (KIP-890, verification of transactions): nothing is short, the second attempt is taken, and
    under load each transaction may begin so. Replicas that are really missing are so for longer,
    nothing is taken meanwhile (`note_taken`), and aiokafka asks ten times a second: that is told.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        #: By partition: when it was refused first, without a gap until now, and last.
        self._refused: dict[object, tuple[float, float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "aiokafka.producer.sender" or not isinstance(record.args, tuple):
            return True
        # By its name: a command that only logs need not import aiokafka.
        error = record.args[1] if len(record.args) == 2 else None
        if getattr(error, "__name__", "") != "NotEnoughReplicasError":
            return True
        partition, now = record.args[0], self._clock()
        with self._lock:
            first, last = self._refused.get(partition, (now, now))
            if now - last > GAP_SECONDS or _taken.get(partition, first - 1) >= first:
                first = now
            self._refused[partition] = first, now
        return now - first >= SHORT_SECONDS


class RepeatFilter(logging.Filter):
    """Lets the same warning or error through once in `REPEAT_SECONDS`, with what was left out.

    The same: logger, level, partition and text; of libraries also a text that differs in its
    numbers alone, as aiokafka's do while a broker is away (nodes, ports, waits). In ours a number
    is news. The next line that is let through has the field `repeated`: how many of its kind were
    left out since the one before.

    Args:
        clock: monotonic seconds.
        seconds: from a line that was let through to the next.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, seconds: float = REPEAT_SECONDS
    ) -> None:
        super().__init__()
        self._clock, self._seconds = clock, seconds
        self._lock = threading.Lock()
        #: When a text was let through, and how many were not since.
        self._told: OrderedDict[tuple[Any, ...], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if not logging.WARNING <= record.levelno < logging.CRITICAL:
            return True
        key = _identity(record)
        now = self._clock()
        with self._lock:
            told = self._told.pop(key, None)
            if told is not None and now - told[0] < self._seconds:
                self._told[key] = told[0], told[1] + 1
                return False
            self._told[key] = now, 0
            if len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        if told is not None and told[1]:
            # structlog's events come as a dictionary, others as an attribute.
            if isinstance(record.msg, dict):
                record.msg["repeated"] = told[1]
            else:
                record.repeated = told[1]
        return True


def _identity(record: logging.LogRecord) -> tuple[Any, ...]:
    event: Any = record.msg
    fields = event if isinstance(event, dict) else record.__dict__
    text = str(event.get("event")) if isinstance(event, dict) else record.getMessage()
    if record.exc_info:
        text += repr(record.exc_info[1])
    if not record.name.startswith(OURS):
        text = _NUMBER.sub("#", text)
    return (record.name, record.levelno, fields.get("agent"), fields.get("partition"), text)
