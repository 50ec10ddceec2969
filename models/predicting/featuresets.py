"""A feature set: declared once, computed by the same code live and in training.

What comes in: the start (ns) and the indicators of each closed bar of one symbol and interval. What
is kept: windows of the last values that its terms read. What goes out: a number for each feature,
None where there is nothing, after the warm-up.

A set of one's own is a file like this; `my_features:calm@1` names it::

    class Calm(FeatureSet):
        NAME = "calm"
        VERSION = 1

        @classmethod
        def declare(cls) -> Sequence[Feature]:
            close = Reading("CLOSE")
            return (
                Feature("return_1", Change(close, 1)),
                Feature("rsi", Scaled(Reading("RSI(14)"), 0.01, -0.5)),
            )

Raise VERSION with any change: a model names the version and the hash of what it was trained on, and
predicts from nothing else. Check a set with `candlewick models check-lookahead`.
"""

from __future__ import annotations

import functools
import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from app.contracts.wire import BarRecord
from models.predicting.features_plan import Feature, FeatureSetError, Plan, code_of, make_plan
from models.predicting.features_terms import LIMIT, NAN
from tables.indicators.base import DAY, Context, sample_bars
from tables.indicators.sets import IndicatorSet
from tables.learning import Revertible, State
from tables.markets import AlwaysOpen, Day, Market

#: Start of a bar (ns), and its indicators by name, None where one has no value.
FeatureItem = tuple[int, Mapping[str, float | None]]
#: One value a feature, in their order.
FeatureRow = tuple[float | None, ...]

_ALWAYS = AlwaysOpen()
_NO_DAY = Day(0, 0, 0, None, None)


class InputError(ValueError):
    """Indicators that a feature set reads are not there."""


class FeatureSet(Revertible[FeatureItem, FeatureRow]):
    """Features of one symbol and interval. A subclass declares them; VERSION is the set's."""

    NAME: ClassVar[str]
    #: Import paths of modules with indicators of one's own.
    MODULES: ClassVar[tuple[str, ...]] = ()

    value: FeatureRow | None = None

    @classmethod
    @abstractmethod
    def declare(cls) -> Sequence[Feature]:
        """Return the features, in the order of their columns."""

    def prepare(self, bars: Sequence[BarRecord]) -> None:
        """Get ready before the first bar; does nothing unless overridden.

        In batch `bars` are all bars of the symbol and interval, live there are none yet. A set may
        compute ahead here what is the same without (a column by one call of a library). Whatever
        makes a difference is a look-ahead, and `lookahead.py` finds it.
        """

    def __init__(self, market: Market | None = None) -> None:
        """Begin without bars; `market` says when sessions are (UTC dates without)."""
        self._plan = plan = self.plan()
        self._day_of: Callable[[int], Day] = (market or _ALWAYS).day_of
        self._day = _NO_DAY
        self._pick = _picker(plan.outputs)
        #: Full after a bar; one value less before the first, and after a revert.
        self._past = [[NAN] * (length - 1) for length in plan.windows]
        #: Bars, counted to one more than the warm-up, so that one can be undone.
        self._seen = 0
        self._undoable = False
        self._earlier: FeatureRow | None = None

    @classmethod
    def plan(cls) -> Plan:
        """Return what the set declares: names, inputs, warm-up, hash.

        Raises:
            FeatureSetError: the declaration is not as it must be.
        """
        return _plan_of(cls)

    @classmethod
    def missing(cls, names: Sequence[str]) -> tuple[str, ...]:
        """Return the inputs that are not among names of indicators."""
        return tuple(each for each in cls.plan().inputs if each not in names)

    def update(self, item: FeatureItem) -> None:
        """Take the next bar.

        Raises:
            InputError: indicators lack; nothing was taken.
        """
        readings = self.read(item[1])
        self._earlier, self._undoable = self.value, True
        self._take(item[0], readings)

    def read(self, values: Mapping[str, float | None]) -> tuple[float | None, ...]:
        """Return the inputs among the values.

        Raises:
            InputError: some lack.
        """
        try:
            return self._plan.read(values)
        except KeyError:
            raise InputError(
                f"{self._plan.label}: no {', '.join(self.missing(list(values)))} among the "
                "indicators; name them in the setting of indicators"
            ) from None

    def _learn(self, item: FeatureItem) -> None:
        self._take(item[0], self.read(item[1]))

    def _take(self, start: int, readings: Sequence[float | None]) -> None:
        plan, past, least, most = self._plan, self._past, -LIMIT, LIMIT
        now = [start % DAY / DAY, self._session_elapsed(start) if plan.uses_session else NAN]
        now += [value if value is not None and least < value < most else NAN for value in readings]
        lengths = plan.windows
        for place, slot in plan.kept:
            window = past[slot]
            window.append(now[place])
            if len(window) > lengths[slot]:
                del window[0]
        append = now.append
        for step, slot in plan.steps:
            value = step(now, past)
            if not least < value < most:
                value = NAN
            append(value)
            if slot >= 0:
                window = past[slot]
                window.append(value)
                if len(window) > lengths[slot]:
                    del window[0]
        if self._seen <= plan.warm_up:
            self._seen += 1
        if self._seen < plan.warm_up:
            self.value = None
            return
        chosen = self._pick(now)
        # All that lacks is the one object NAN, so `in` finds it.
        if NAN in chosen:
            chosen = tuple([None if value != value else value for value in chosen])
        self.value = chosen

    def _session_elapsed(self, start: int) -> float:
        day = self._day
        if not day.start <= start < day.end:
            day = self._day = self._day_of(start)
        if day.open is None or day.close is None:
            return NAN
        return (start - day.open) / (day.close - day.open)

    def revert(self) -> None:
        """Undo the last update.

        Raises:
            RuntimeError: nothing was taken since the last revert.
        """
        if not self._undoable:
            raise RuntimeError(f"{type(self).__name__}: there is no update to revert")
        for window in self._past:
            window.pop()
        self._seen -= 1
        self.value, self._earlier, self._undoable = self._earlier, None, False

    def _whole(self) -> State:
        return self._content()

    def _resume(self, whole: State) -> None:
        self._restore(whole)

    def _content(self) -> State:
        rows = [None if row is None else list(row) for row in (self.value, self._earlier)]
        windows = [[None if each != each else each for each in window] for window in self._past]
        return [self._plan.hash, self._seen, self._undoable, *rows, windows]

    def _restore(self, content: State) -> None:
        held, seen, undoable, value, earlier, windows = content
        plan = self._plan
        if held != plan.hash:
            raise ValueError(f"it is of features with the hash {held}, these have {plan.hash}")
        for window, length in zip(windows, plan.windows, strict=True):
            if not length - 1 <= len(window) <= length:
                raise ValueError(f"a window of {len(window)} values, expected {length}")
        for row in (value, earlier):
            if row is not None and len(row) != len(plan.names):
                raise ValueError(f"{len(row)} features, expected {len(plan.names)}")
        self._seen, self._undoable = seen, undoable
        self.value = None if value is None else tuple(value)
        self._earlier = None if earlier is None else tuple(earlier)
        self._past = [[NAN if each is None else each for each in window] for window in windows]

    @classmethod
    def sample(cls, seed: int, count: int) -> Sequence[FeatureItem]:
        """Return the indicators of one-minute bars of a random walk."""
        indicators = IndicatorSet(cls.plan().requests, Context())
        items = []
        for bar in sample_bars(seed, count):
            indicators.take(bar)
            items.append((bar.start, indicators.values()))
        return items

    @classmethod
    def hostile(cls, seed: int, count: int) -> Sequence[FeatureItem]:
        """Return indicators that no market has: nothing, zero, negative, without bounds."""
        chance = random.Random(seed)
        fearful = (None, 0.0, -0.0, -1.0, 5e-324, 1e-30, 1e30, -1e250, 1.7e308, 1.0, 100.0)
        inputs = cls.plan().inputs
        return [
            (number * 7_000_000_000, {name: chance.choice(fearful) for name in inputs})
            for number in range(count)
        ]


@functools.cache
def _plan_of(kind: type[FeatureSet]) -> Plan:
    name: Any = getattr(kind, "NAME", None)
    if not isinstance(name, str):
        raise FeatureSetError(f"{kind.__module__}.{kind.__qualname__} has no NAME")
    code = code_of(kind, without=("declare", "prepare", "sample", "hostile", "examples"))
    return make_plan(name, kind.VERSION, kind.declare(), kind.MODULES, code)


@functools.cache
def _picker(places: tuple[int, ...]) -> Callable[[Sequence[float]], FeatureRow]:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda now: (now[places[0]],)


def matrix_of(rows: Sequence[FeatureRow]) -> npt.NDArray[np.float32]:
    """Return rows as a model takes them: float32, NaN where there is nothing."""
    return np.array(rows, dtype=np.float32)
