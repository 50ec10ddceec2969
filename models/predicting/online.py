"""A model that learns from each target that becomes known: a linear regression of river.

What comes in: a row of features when a bar closes (`look`), and the return that came of it, once it
is known (`learn`). What is kept: means and deviations of the features, weights, the size of the
targets; bounded plain values. What goes out: the predicted return.

    row -> scaled by running means and deviations (`river.preprocessing.StandardScaler`)
        -> weighted (`river.linear_model.LinearRegression`, plain gradient descent, no intercept)
        -> times trust -> times unit = predicted return

*Trust*, 0 to 1, is how much of its own raw predictions came true: the slope of the targets on them,
held against a prior of none. Where there is nothing to find, any learner that goes on learning
loses to zero by its own noise; trust takes that loss away, and where there is something costs
little (`tests/checks/online_learner.py` prints both). It must be judged by what was said before the
target began, for targets of neighbouring rows overlap: so `look` gives a note, which is kept until
the target is known, and `learn` takes the note.

*Unit* is the running median of the absolute targets that are not 0: it goes up by a step where a
target is above it, else down, and no outlier moves it by more than a step. A target counts as 8
units at most, a feature as 10 deviations when it is learned from and 6 when it is weighted. What
lacks (NaN) counts as the mean, and teaches nothing.

It learns slowly: a signal that comes and goes within some hundreds of rows is not for it, nor is
one that a product of features alone foretells.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from models.predicting.boosting import TrainingError
from tables.learning import Learner, State

INSTALL: Final = "pip install 'candlewick[online]'"
#: Targets count as so many units at most; so do predictions.
MOST_UNITS: Final = 8.0
#: Deviations that a feature counts as, at most: when it is weighted, when it makes the next mean.
MOST_SCALED, MOST_LEARNED = 6.0, 10.0
#: Values of a feature before its outliers are told from it.
_FEW: Final = 50
#: By how much a target moves the unit, at least; where the unit begins, and its bounds.
_STEP: Final = 0.01
_UNIT, _LEAST_UNIT, _MOST_UNIT = 5e-4, 1e-9, 1.0

Row = npt.NDArray[np.float32]
#: The raw prediction, in units, then the features, None where one lacks.
Note = list[float | None]


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it learns.

    Attributes:
        rate: share of its error at a usual row that a target takes away.
        memory: rows after which scaling and trust have forgotten.
        warm_up: targets before the first prediction.
        prior: squared units of raw predictions that came to nothing, against which trust is held.
    """

    rate: float = 0.005
    memory: int = 5_000
    warm_up: int = 100
    prior: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what does not converge.

        Raises:
            ValueError: a figure out of its bounds.
        """
        # Above 2 / 36 a row of nothing but outliers overshoots.
        if not (0 < self.rate <= 0.05 and 0 < self.prior < math.inf):
            raise ValueError(
                f"rate {self.rate}, prior {self.prior}: expected above 0, rate <= 0.05"
            )
        if not (2 * _FEW <= self.memory <= 10_000_000 and 0 < self.warm_up <= 1_000_000):
            raise ValueError(
                f"memory {self.memory}, warm-up {self.warm_up}: expected 100, 1 or more"
            )


class Look(NamedTuple):
    """What is said of a row.

    Attributes:
        prediction: return; None in the warm-up, and for a row with an infinity.
        note: to be given to `learn` with the target; None where there is nothing to learn from.
    """

    prediction: float | None
    note: Note | None


class Taught(NamedTuple):
    """The note of a row, and the return that came."""

    note: Note
    target: float


class Learned(NamedTuple):
    """What it has made of the targets so far.

    Attributes:
        targets: how many.
        unit: their size, in returns.
        trust: 0 to 1.
        weights: in units a deviation, one a feature.
    """

    targets: int
    unit: float
    trust: float
    weights: tuple[float, ...]


def import_river() -> ModuleType:
    """Return the library, which is an extra.

    Raises:
        TrainingError: it is not installed.
    """
    try:
        import river.linear_model
        import river.optim
        import river.preprocessing
        import river.utils
    except ImportError as error:
        raise TrainingError(f"river is not installed: {INSTALL}") from error
    return river


def _within(scaled: dict[str, float], bound: float) -> bool:
    values = scaled.values()
    return not values or (min(values) >= -bound and max(values) <= bound)


class OnlinePredictor(Learner[Taught, Learned]):
    """The learner at work: of a partition, or of a symbol.

    Args:
        names: of the features, in the order of the columns.
        configuration: how it learns.

    Raises:
        TrainingError: river is not installed; how to is said.
    """

    __slots__ = ("_agreed", "_made", "_model", "_scaler", "_squares", "_vector", "configuration",
                 "names", "targets", "unit")  # fmt: skip

    def __init__(self, names: Sequence[str], configuration: Configuration | None = None) -> None:
        if not names or len(set(names)) != len(names):
            raise ValueError("feature names are none or not distinct")
        river = import_river()
        self.names = tuple(names)
        self.configuration = configuration or Configuration()
        # River's gradient of a squared error is twice the error; a usual row has a squared length
        # of as many as there are features.
        rate = self.configuration.rate / (2 * len(self.names))
        self._scaler = river.preprocessing.StandardScaler()
        self._model = river.linear_model.LinearRegression(river.optim.SGD(rate), intercept_lr=0.0)
        self._vector = river.utils.VectorDict
        # In the order of the columns from the first: sums depend on it.
        self._model._weights = self._vector(dict.fromkeys(self.names, 0.0))
        told = msgspec.json.encode([self.names, self.configuration])
        self._made = hashlib.sha256(told).hexdigest()[:16]
        self.targets = 0
        self.unit = _UNIT
        #: Fading sums of raw prediction x target, and of squared raw predictions.
        self._agreed = 0.0
        self._squares = 0.0

    @property
    def trust(self) -> float:
        """How much of its raw predictions came true, 0 to 1."""
        return min(1.0, max(0.0, self._agreed / (self._squares + self.configuration.prior)))

    @property
    def value(self) -> Learned | None:
        """What it has learned; None in the warm-up."""
        if self.targets < self.configuration.warm_up:
            return None
        weights = self._model.weights
        return Learned(
            self.targets, self.unit, self.trust, tuple(weights[name] for name in self.names)
        )

    def look(self, row: Row) -> Look:
        """Predict, and say what to keep until the target is known.

        Args:
            row: float32, shape (features,), NaN where there is nothing.

        Raises:
            ValueError: another type or shape.
        """
        if row.dtype != np.float32 or row.shape != (len(self.names),):
            raise ValueError(
                f"a row of {row.dtype}, shape {row.shape}: expected float32, ({len(self.names)},)"
            )
        values = row.tolist()
        if math.inf in values or -math.inf in values:
            return Look(None, None)
        raw = self._raw(self._scaled(self._there(values)))
        note: Note = [raw, *(value if value == value else None for value in values)]
        if self.targets < self.configuration.warm_up:
            return Look(None, note)
        return Look(self.trust * raw * self.unit, note)

    def predict(self, row: Row) -> float | None:
        """Return the predicted return; see `look`."""
        return self.look(row).prediction

    def learn(self, note: Note, target: float) -> None:
        """Take the return that came of the row of a note; one that is no number is left out.

        Raises:
            ValueError: the note is of another number of features.
        """
        raw, *values = note
        if len(values) != len(self.names) or raw is None:
            raise ValueError(f"a note of {len(values)} features: expected {len(self.names)}")
        if not math.isfinite(target):
            return
        counted = max(-MOST_UNITS, min(MOST_UNITS, target / self.unit))
        keep = 1 - 1 / self.configuration.memory
        self._agreed = keep * self._agreed + raw * counted
        self._squares = keep * self._squares + raw * raw
        there = {
            name: value for name, value in zip(self.names, values, strict=True) if value is not None
        }
        self._learn_scale(there)
        self._model.learn_one(self._scaled(there), counted)
        self._learn_unit(abs(target))
        self.targets += 1

    def update(self, item: Taught) -> None:
        """Learn from an item."""
        self.learn(item.note, item.target)

    def _there(self, values: Sequence[float]) -> dict[str, float]:
        return {
            name: value for name, value in zip(self.names, values, strict=True) if value == value
        }

    def _scaled(self, there: dict[str, float]) -> dict[str, float]:
        scaled: dict[str, float] = self._scaler.transform_one(there)
        if _within(scaled, MOST_SCALED):
            return scaled
        return {name: max(-MOST_SCALED, min(MOST_SCALED, value)) for name, value in scaled.items()}

    def _raw(self, scaled: dict[str, float]) -> float:
        found = float(self._model.predict_one(scaled))
        return max(-MOST_UNITS, min(MOST_UNITS, found))

    def _learn_scale(self, there: dict[str, float]) -> None:
        scaler, memory = self._scaler, self.configuration.memory
        counts, means = scaler.counts, scaler.means
        if not _within(scaler.transform_one(there), MOST_LEARNED):
            there = dict(there)
            for name, value in there.items():
                if counts[name] >= _FEW:
                    # Of a feature that was always the same, nothing is an outlier.
                    bound = MOST_LEARNED * scaler.vars[name] ** 0.5 or math.inf
                    there[name] = max(means[name] - bound, min(means[name] + bound, value))
        if self.targets >= memory:
            # No count is above that of the targets. River's exact mean and variance become
            # exponential ones.
            for name in there:
                counts[name] = min(counts[name], memory - 1)
        scaler.learn_one(there)

    def _learn_unit(self, size: float) -> None:
        if size == 0:
            return
        step = 1 + max(_STEP, 1 / (self.targets + 1))
        moved = self.unit * step if size > self.unit else self.unit / step
        self.unit = max(_LEAST_UNIT, min(_MOST_UNIT, moved))

    def _content(self) -> State:
        scaler, weights = self._scaler, self._model.weights
        columns = (scaler.counts, scaler.means, scaler.vars, weights)
        return [
            self._made, self.targets, self.unit, self._agreed, self._squares,
            *([column.get(name, 0) for name in self.names] for column in columns),
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        made, targets, unit, agreed, squares, counts, means, variances, weights = content
        if made != self._made:
            raise ValueError(f"it is of names and configuration {made}, these are {self._made}")
        numbers = [unit, agreed, squares, *means, *variances, *weights]
        if not all(isinstance(each, (int, float)) and math.isfinite(each) for each in numbers):
            raise ValueError("a value that is no finite number")
        if not all(isinstance(each, int) and each >= 0 for each in (targets, *counts)):
            raise ValueError("a count that is none")
        if not _LEAST_UNIT <= unit <= _MOST_UNIT or min(squares, *variances) < 0:
            raise ValueError("a unit or a square that cannot be")
        self.targets, self.unit, self._agreed, self._squares = targets, unit, agreed, squares
        scaler = self._scaler
        for name, count, mean, variance in zip(self.names, counts, means, variances, strict=True):
            if count:
                scaler.counts[name], scaler.means[name], scaler.vars[name] = count, mean, variance
        held = dict(zip(self.names, map(float, weights), strict=True))
        self._model._weights = self._vector(held)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameters for the discovered checks."""
        names = ("one", "two", "three")
        quick = Configuration(rate=0.05, memory=100, warm_up=1, prior=0.1)
        return [{"names": names}, {"names": names, "configuration": quick}]

    @classmethod
    def sample(cls, seed: int, count: int) -> Sequence[Taught]:
        """Return rows of three features, of which the first foretells a little."""
        chance = random.Random(seed)
        items = []
        for _ in range(count):
            values = [chance.gauss(0, 10.0**power) for power in (0, -3, 3)]
            lacking = chance.random() < 0.05
            note: Note = [chance.gauss(0, 0.1), None if lacking else values[0], *values[1:]]
            items.append(Taught(note, 5e-4 * (0.2 * values[0] + chance.gauss(0, 1))))
        return items

    @classmethod
    def hostile(cls, seed: int, count: int) -> Sequence[Taught]:
        """Return rows and targets to fear."""
        chance = random.Random(seed)
        fearful = (None, 0.0, 0.0, 1.0, -1.0, 1e-45, 3e38, -3e38, 1e30, 1e-30)
        targets = (0.0, 0.0, 5e-4, -5e-4, 5e-324, 1.7e308, -1.7e308, math.inf, math.nan, 1e-9)
        return [
            Taught(
                [
                    chance.choice((0.0, MOST_UNITS, -MOST_UNITS, 1e-300)),
                    *chance.choices(fearful, k=3),
                ],
                chance.choice(targets),
            )
            for _ in range(count)
        ]
