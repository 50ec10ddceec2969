"""The features of one symbol and interval, and what becomes of revised bars.

Indicators come by start and revision, as their records do; the rules are those of
`tables/indicators/sets.py`: newer ones are taken (`NEW`), a higher revision of the last undoes it
first (`REVISED`), an emptied bar (no values) undoes it and is not taken (`EMPTIED`), everything
else is ignored. Training goes through here too, so both are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.wire import BarRecord
from models.predicting.featuresets import FeatureRow, FeatureSet
from tables.indicators.sets import Outcome
from tables.learning import State, StateVersionError
from tables.markets import Market

VERSION = 1


class FeatureSeries:
    """A feature set that takes records."""

    def __init__(
        self,
        kind: type[FeatureSet],
        market: Market | None = None,
        bars: Sequence[BarRecord] = (),
    ) -> None:
        """Begin; `bars` are all that will come, where that is known."""
        self._begin(kind(market), bars)

    def _begin(self, features: FeatureSet, bars: Sequence[BarRecord] = ()) -> None:
        features.prepare(bars)
        self.features = features
        self._depth = features.plan().depth
        #: Start and revision of the newest bar; nothing was seen while there is no start.
        self.start: int | None = None
        self.revision = 0
        self._taken = False
        #: Bars until what is not exact is in no window.
        self._inexact = 0

    def take(
        self,
        start: int,
        revision: int,
        values: Mapping[str, float | None] | None,
        *,
        exact: bool = True,
    ) -> Outcome:
        """Take the indicators of a closed bar.

        Args:
            start: of the bar, ns.
            revision: of the bar.
            values: by name; None for a bar that a correction emptied.
            exact: whether the indicators are (`IndicatorSet.exact`).

        Raises:
            InputError: an indicator lacks that the features read; nothing was taken.
        """
        newer = self.start is None or start > self.start
        if not newer and start != self.start:
            return Outcome.OLDER
        if not newer and revision <= self.revision:
            return Outcome.REPEATED
        if not newer and self._taken:
            if values is not None:
                # Before anything is undone.
                self.features.read(values)
            self.features.revert()
            self._taken = False
        if values is not None:
            self.features.update((start, values))
        self.start, self.revision, self._taken = start, revision, values is not None
        if values is None:
            return Outcome.EMPTIED
        if not exact:
            self._inexact = self._depth + 1
        elif newer and self._inexact:
            self._inexact -= 1
        return Outcome.NEW if newer else Outcome.REVISED

    @property
    def row(self) -> FeatureRow | None:
        """The features of the newest bar; None in the warm-up, and of a bar that was emptied."""
        return self.features.value if self._taken else None

    @property
    def exact(self) -> bool:
        """Whether the row is as if every bar had come once, in its highest revision."""
        return self._inexact == 0

    def state(self) -> State:
        """Return plain values from which `from_state` goes on, bit for bit."""
        held = self.features.state()
        return [VERSION, self.start, self.revision, self._taken, self._inexact, held]

    @classmethod
    def from_state(
        cls, state: State, kind: type[FeatureSet], market: Market | None = None
    ) -> FeatureSeries:
        """Build the series that goes on from a state.

        Raises:
            StateVersionError: the state is of another version, or of other features.
        """
        if len(state) != 6 or state[0] != VERSION:
            raise StateVersionError(
                f"FeatureSeries: the state has version {state[0] if state else 'no'}, this code "
                f"reads {VERSION}"
            )
        made = cls.__new__(cls)
        made._begin(kind.from_state(state[5], market))
        made.start, made.revision, made._taken, made._inexact = state[1:5]
        return made
