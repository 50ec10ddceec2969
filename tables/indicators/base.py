"""What an indicator is: a class with a name, parameters, a warm-up, and one step a bar.

To add one, write a file like this and name its module in the setting of user modules::

    class Range(Indicator):
        NAME = "RANGE"
        TITLE = "Mean range of the last bars"
        SOURCE = "ours"

        def __init__(self, length: Length = 14) -> None:
            self._mean = Mean(length)
            super().__init__(self._mean, warm_up=length)

        def _step(self, bar: BarRecord) -> float | None:
            return self._mean.push(bar.high - bar.low)
"""

from __future__ import annotations

import functools
import inspect
import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import msgspec

from app.contracts.wire import BarRecord
from tables.indicators.windows import NOTHING, Part
from tables.learning import Revertible, State

#: One number, or one for each of `OUTPUTS`; of these some may be undefined (0 / 0) for good.
IndicatorValue = float | tuple[float | None, ...]

#: A number of bars. The bound keeps a state row below a megabyte with some tens of indicators.
Length = Annotated[int, msgspec.Meta(ge=1, le=2000)]
Factor = Annotated[float, msgspec.Meta(gt=0, le=1000)]

DAY = 86_400_000_000_000
MINUTE = 60_000_000_000


def utc_date(time: int) -> int:
    """Return the days since the epoch, in UTC, of a time in ns."""
    return time // DAY


@dataclass(frozen=True)
class Context:
    """What indicators are told about the world, besides bars.

    `session_of` gives the session, any number, that a bar start (event time, ns) belongs to.
    """

    session_of: Callable[[int], int] = utc_date


class ParameterError(ValueError):
    """An indicator or a parameter of one that is not as it must be; the message is one line."""


@functools.cache
def _types_of(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls.__init__, include_extras=True)


class Indicator(Revertible[BarRecord, IndicatorValue]):
    """A number, or several, from the bars of one symbol and interval.

    `value` is None in the warm-up: the outputs of an indicator begin together. Each part must be
    pushed exactly once a bar, with None where there is nothing for it.
    """

    #: As written: `RSI`. One name, one class.
    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    #: Names of the outputs, after a dot; the one without a name is the indicator's own.
    OUTPUTS: ClassVar[tuple[str, ...]] = ("",)
    #: How it begins, where there is a choice; and what it says where the formula is 0 / 0.
    SEED: ClassVar[str] = ""
    #: Where `ta` or TA-Lib do otherwise, and why.
    NOTE: ClassVar[str] = ""
    SOURCE: ClassVar[str]

    value: IndicatorValue | None = None

    def __init__(self, *parts: Part, warm_up: int, memory: int | None = -1) -> None:
        """Keep the parts.

        `warm_up`: with so many bars there is a value. `memory`: after so many more bars, a bar that
        was other than we saw it no longer shows (below 10^-9 of the change); None: never. The
        default is that of windows, `warm_up`.
        """
        self._parts = parts
        self.warm_up = warm_up
        self.memory = warm_up if memory == -1 else memory
        #: The value before the last update; NOTHING where there is none to undo.
        self._earlier: IndicatorValue | Literal[False] | None = NOTHING

    def __init_subclass__(cls, **options: Any) -> None:
        """Give each class code of its own for `update`, unless it has one.

        CPython specialises code for the class it meets: shared by the twelve classes of a set, it
        would look up everything anew. This saves a tenth of a bar's time (`tests/bench`).
        """
        super().__init_subclass__(**options)
        if cls.update is Indicator.update:
            shared: Any = Indicator.update
            own = FunctionType(shared.__code__.replace(), shared.__globals__, "update")
            own.__doc__ = shared.__doc__
            cls.update = own  # type: ignore[method-assign]

    @abstractmethod
    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        """Take the next bar and return the value; None in the warm-up."""

    def forgot(self, older: int, bars: int, newest: int) -> bool:
        """Return whether an older bar (its start), `bars` bars before the newest, shows no more."""
        return self.memory is not None and bars >= self.memory

    def update(self, item: BarRecord) -> None:
        """Take the next bar; its values are finite."""
        self._earlier = self.value
        self.value = self._step(item)

    def _learn(self, item: BarRecord) -> None:
        self.value = self._step(item)

    def revert(self) -> None:
        """Undo the last update.

        Raises:
            RuntimeError: nothing was taken since the last revert.
        """
        if self._earlier is NOTHING:
            raise RuntimeError(f"{self.NAME}: there is no update to revert")
        self.value = self._earlier
        self._earlier = NOTHING
        for part in self._parts:
            part.undo()

    def _whole(self) -> State:
        return self._content()

    def _resume(self, whole: State) -> None:
        self._restore(whole)

    def _content(self) -> State:
        values = [
            list(each) if isinstance(each, tuple) else each for each in (self.value, self._earlier)
        ]
        return [*values, *(part.content() for part in self._parts)]

    def _restore(self, content: State) -> None:
        value, earlier, *contents = content
        self.value, self._earlier = (
            tuple(each) if isinstance(each, list) else each for each in (value, earlier)
        )
        for part, held in zip(self._parts, contents, strict=True):
            part.restore(held)

    @classmethod
    def parameters(cls) -> Mapping[str, inspect.Parameter]:
        """Return the parameters that are written, in order; `context` is given, not written."""
        return _parameters_of(cls)

    @classmethod
    def check(cls, name: str, value: Any) -> Any:
        """Return a parameter's value, converted to its type.

        Raises:
            ParameterError: it is out of its bounds.
        """
        expected = _types_of(cls)[name]
        try:
            return msgspec.convert(value, expected, strict=False)
        except msgspec.ValidationError as error:
            choices = " or ".join(get_args(expected)) if get_origin(expected) is Literal else ""
            reason = choices or str(error).removeprefix("Expected ").replace("`", "")
            raise ParameterError(f"{cls.NAME}: {name} is {value!r}; expected {reason}") from error

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return the defaults, each other choice, and lengths that are short."""
        kinds = {name: _types_of(cls)[name] for name in cls.parameters()}
        chosen: list[dict[str, Any]] = [{}]
        for name, kind in kinds.items():
            if get_origin(kind) is Literal:
                default = cls.parameters()[name].default
                chosen += [{name: each} for each in get_args(kind) if each != default]
        lengths = [name for name, kind in kinds.items() if kind == Length]
        if lengths:
            short = dict(zip(lengths, range(2, 2 + len(lengths)), strict=True))
            try:
                cls(**short)
            except ParameterError:
                short = dict(zip(reversed(lengths), short.values(), strict=True))
            chosen.append(short)
        return chosen

    @classmethod
    def sample(cls, seed: int, count: int) -> Sequence[BarRecord]:
        """Return one-minute bars of a random walk, some of them without volume."""
        return sample_bars(seed, count)


@functools.cache
def _parameters_of(cls: type[Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(cls).parameters)
    found.pop("context", None)
    return found


def sample_bars(seed: int, count: int) -> list[BarRecord]:
    """Return one-minute bars of a seeded random walk in cents.

    One in fifty has no volume, never the first.
    """
    chance = random.Random(seed)
    bars = []
    close = 100.0
    for number in range(count):
        first = round(close * (1 + chance.gauss(0, 0.0005)), 2)
        close = round(first * (1 + chance.gauss(0, 0.002)), 2)
        high = round(max(first, close) + abs(chance.gauss(0, 0.05)), 2)
        low = round(min(first, close) - abs(chance.gauss(0, 0.05)), 2)
        idle = chance.random() < 0.02 and number > 0
        bars.append(
            BarRecord(
                symbol="SAMPLE",
                interval="1m",
                start=1_700_000_000_000_000_000 // MINUTE * MINUTE + number * MINUTE,
                open=first,
                high=high,
                low=low,
                close=close,
                volume=0.0 if idle else float(chance.randrange(1, 10_000)),
                vwap=None if idle else round((high + low + close) / 3, 4),
                trades=chance.randrange(1, 100),
                revision=0,
                is_final=True,
                filled=False,
                sources=("sample",),
            )
        )
    return bars
