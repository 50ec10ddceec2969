"""One verb set for everything that learns from a stream: indicators, scorers, statistics.

What comes in: items, one by one, in log order. What is kept: a bounded, JSON-able state. What goes
out: `value`, None until `ready`, never NaN nor infinite.

Invariants, checked for each implementation by `tests/checks`:

- *Stream = batch*: `value` depends on the items so far and on nothing else: no clock, no chance
  that is not seeded by the parameters, no order of dictionaries.
- *Prefix*: later items never change earlier values.
- *Snapshot*: `from_state(state())` at any point goes on as the original would, bit for bit.
- *Revert*: `revert()` undoes the last `update`, once; so a revised last item is exact. It works
  after a restart, too: what it needs is part of the state.
- *Score before learning*: where `value` judges the item, it does so by what was learned before it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, ClassVar, Generic, Self, TypeVar

#: What JSON and msgpack hold: numbers, texts, None, and lists of them.
State = list[Any]

Item = TypeVar("Item", contravariant=True)
Value = TypeVar("Value", covariant=True)


class StateVersionError(ValueError):
    """A state of another version, or of other parameters, than the code reads."""


class Learner(ABC, Generic[Item, Value]):
    """Learns from a stream, one item at a time. Parameters are those of the constructor."""

    #: To be raised when older code cannot read the state.
    VERSION: ClassVar[int] = 1

    @abstractmethod
    def update(self, item: Item) -> None:
        """Take the next item."""

    @property
    @abstractmethod
    def value(self) -> Value | None:
        """What is known after the last item; None until `ready`."""

    @property
    def ready(self) -> bool:
        """Whether the warm-up is over."""
        return self.value is not None

    def state(self) -> State:
        """Return all that was learned, without the parameters: the version, then plain values."""
        return [self.VERSION, *self._whole()]

    @classmethod
    def from_state(cls, state: State, /, *parameters: Any, **named: Any) -> Self:
        """Build a learner of these parameters that goes on from a state.

        Raises:
            StateVersionError: the state is of another version, or does not fit the parameters.
        """
        if not state or state[0] != cls.VERSION:
            held = state[0] if state else "no"
            raise StateVersionError(
                f"{cls.__name__}: the state has version {held}, this code reads {cls.VERSION}"
            )
        learner = cls(*parameters, **named)
        try:
            learner._resume(state[1:])
        except (TypeError, ValueError, IndexError) as error:
            raise StateVersionError(
                f"{cls.__name__}: the state does not fit its parameters: {error}"
            ) from error
        return learner

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameters, by name, that the discovered suite builds learners with."""
        return [{}]

    @classmethod
    def sample(cls, seed: int, count: int) -> Sequence[Any]:
        """Return items as they come in ordinary times, for the discovered suite and benchmarks.

        A function of `seed` and `count` alone; more items do not change the earlier ones.
        """
        raise NotImplementedError(f"{cls.__name__} makes no sample of its items")

    def _whole(self) -> State:
        """Return all of the state but its version."""
        return self._content()

    def _resume(self, whole: State) -> None:
        """Take in what `_whole` returned."""
        self._restore(whole)

    @abstractmethod
    def _content(self) -> State:
        """Return what `_restore` takes: plain values, bounded in number, that no update changes."""

    @abstractmethod
    def _restore(self, content: State) -> None:
        """Take in what `_content` returned."""


class Revertible(Learner[Item, Value]):
    """A learner whose last update can be undone, once.

    This class does so by a copy of the state before each update, which any implementation gets for
    nothing; where it costs too much, override `update` and `revert` and leave `_learn` unused.
    """

    _before: State | None = None

    @abstractmethod
    def _learn(self, item: Item) -> None:
        """Take the next item."""

    def update(self, item: Item) -> None:
        """Take the next item."""
        self._before = self._content()
        self._learn(item)

    def revert(self) -> None:
        """Undo the last update.

        Raises:
            RuntimeError: nothing was taken since the last revert.
        """
        if self._before is None:
            raise RuntimeError(f"{type(self).__name__}: there is no update to revert")
        self._restore(self._before)
        self._before = None

    def _whole(self) -> State:
        return [self._before, *self._content()]

    def _resume(self, whole: State) -> None:
        self._restore(whole[1:])
        self._before = whole[0]


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    """Yield a package and all modules below it, sorted by name; a plain module yields itself."""
    yield package
    for found in sorted(
        pkgutil.walk_packages(getattr(package, "__path__", []), f"{package.__name__}."),
        key=lambda each: each.name,
    ):
        yield importlib.import_module(found.name)


def discover(package: ModuleType, kind: type[Any] = Learner) -> list[type[Any]]:
    """Return the implementations of a kind that a package or module defines, in its order of names.

    Abstract classes, imported ones and those whose name begins with an underscore are left out.
    """
    return [
        each
        for module in modules_of(package)
        for name, each in vars(module).items()
        if inspect.isclass(each)
        and issubclass(each, kind)
        and each.__module__ == module.__name__
        and not inspect.isabstract(each)
        and not name.startswith("_")
    ]
