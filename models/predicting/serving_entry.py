"""What is kept of one symbol and interval: features, predictions whose label is open, intervals.

A label is judged when a bar behind it has come: a revision of the last bar undoes what was
predicted from it and predicts anew, and nothing has been learned from it yet. Revisions of older
bars are ignored, as in the indicators before; a label that was judged stays as it is.

Where two bars of a prediction's horizon lie in two sessions, or bars lack in between, it has no
label (the rules of `building.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.predicting.conformal import AdaptiveInterval, Calibration, Outcome
from models.predicting.features_series import FeatureSeries
from models.predicting.featuresets import FeatureSet
from tables.indicators.sets import Outcome as BarOutcome
from tables.learning import State, StateVersionError
from tables.markets import Market

VERSION = 1


class Given(NamedTuple):
    """A prediction that was given out.

    Attributes:
        slot: number of model and alias in the settings.
        version: of the model.
        generation: of the alias, when it was given.
        value: predicted return; None where a version that learns does not dare yet.
        low, high: of its interval; None where no finite one would do.
        span: ns from the bar's start to that of the bar whose close makes the label.
        labelled: whether there can be a label: the span lies in one session.
        previous: the return over the horizon before; None where there is none.
        scale: of the version's calibration, from which the intervals begin.
        served: whether it was the one that was served.
        note: what a version that learns is told again when the label comes.
    """

    slot: int
    version: int
    generation: int
    value: float | None
    low: float | None
    high: float | None
    span: int
    labelled: bool
    previous: float | None
    scale: float
    served: bool
    note: list[float | None] | None


class Waiting(NamedTuple):
    """A prediction, and the bar it was made at: its start (ns) and close."""

    start: int
    close: float
    given: Given


class Settled(NamedTuple):
    """A prediction whose label is known: the return that came."""

    waiting: Waiting
    target: float


def return_of(base: float, then: float) -> float | None:
    """The return from one close to another; None where it is no number."""
    if base <= 0:
        return None
    found = then / base - 1
    return found if math.isfinite(found) else None


class Forecasts:
    """The state of one symbol and interval.

    Args:
        kinds: the feature sets that are kept.
        market: of the symbol.
        alpha: share of labels that intervals may miss.
        rate: by how much a miss moves the level.
    """

    def __init__(
        self, kinds: Sequence[type[FeatureSet]], market: Market | None, alpha: float, rate: float
    ) -> None:
        self.series = tuple(FeatureSeries(kind, market) for kind in kinds)
        self.market = market
        self._alpha, self._rate = alpha, rate
        #: Start and close of the newest bar; no close where it is emptied.
        self.last: tuple[int, float | None] | None = None
        #: Starts and closes of settled bars, as far back as the longest horizon.
        self._closes: dict[int, float] = {}
        self._longest = 0
        #: By the start of the bar whose close makes the label.
        self._waiting: dict[int, list[Waiting]] = {}
        #: By slot: the version they are of, its scale, and the intervals.
        self._bands: dict[int, tuple[int, float, AdaptiveInterval]] = {}

    # --- a bar, in this order --------------------------------------------------------------

    def take(
        self, start: int, revision: int, values: Mapping[str, float | None] | None, *, exact: bool
    ) -> BarOutcome:
        """Let the features take a bar; see `FeatureSeries.take`."""
        first, *others = self.series
        outcome = first.take(start, revision, values, exact=exact)
        for each in others:
            each.take(start, revision, values, exact=exact)
        return outcome

    def settle(self, start: int) -> list[Settled]:
        """Judge what waits for the newest bar, if one that begins at `start` is newer.

        The intervals learn from it.
        """
        if self.last is None or start <= self.last[0]:
            return []
        newest, close = self.last
        self.last = None
        settled = []
        due = self._waiting.pop(newest, None)
        if min(self._waiting, default=newest) < newest:
            # The bars that these waited for have not come.
            self._waiting = {each: held for each, held in self._waiting.items() if each > newest}
        if close is not None:
            for each in due or ():
                target = return_of(each.close, close)
                if target is not None:
                    settled.append(Settled(each, target))
                    self._learn(each.given, target)
            self._closes[newest] = close
        self._forget(newest)
        return settled

    def hold(self, start: int, close: float | None, given: Sequence[Given]) -> None:
        """Keep what was predicted from the newest bar; instead of what was before its revision."""
        if self.last is not None:
            # It is a revision: what is newer was settled, and then there is no last.
            self._undo(start)
        self.last = (start, close)
        if close is None:
            return
        for each in given:
            self._longest = max(self._longest, each.span)
            if each.labelled:
                held = self._waiting.setdefault(start + each.span, [])
                held.append(Waiting(start, close, each))

    def _undo(self, start: int) -> None:
        left = {
            due: [each for each in held if each.start != start]
            for due, held in self._waiting.items()
        }
        self._waiting = {due: held for due, held in left.items() if held}

    # --- what predictions are made of ------------------------------------------------------

    def band(self, slot: int, version: int, calibration: Calibration) -> AdaptiveInterval:
        """The intervals of a version in a slot; new ones where another was there."""
        held = self._bands.get(slot)
        if held is None or held[0] != version:
            made = AdaptiveInterval(calibration, self._alpha, self._rate)
            self._bands[slot] = (version, calibration.scale, made)
            return made
        if held[2].calibration is not calibration:
            held[2].calibration = calibration
        return held[2]

    def previous(self, start: int, close: float, span: int) -> float | None:
        """The return up to a bar from the one `span` ns before; None where there is none."""
        base = self._closes.get(start - span)
        return None if base is None else return_of(base, close)

    def _learn(self, given: Given, target: float) -> None:
        held = self._bands.get(given.slot)
        # What an earlier version has predicted says nothing of this one's intervals.
        if held is not None and held[0] == given.version and given.value is not None:
            held[2].update(Outcome(given.value, given.low, given.high, target))

    def _forget(self, newest: int) -> None:
        closes = self._closes
        while closes:
            start = next(iter(closes))
            if newest - start < self._longest:
                break
            del closes[start]

    # --- rows ------------------------------------------------------------------------------

    def state(self) -> State:
        """Return plain values from which `from_state` goes on, bit for bit."""
        waiting = [each for held in self._waiting.values() for each in held]
        # As they were given.
        waiting.sort(key=lambda each: (each.start, each.given.slot))
        return [
            VERSION,
            [each.state() for each in self.series],
            None if self.last is None else list(self.last),
            [list(each) for each in self._closes.items()],
            self._longest,
            [[each.start, each.close, list(each.given)] for each in waiting],
            [
                [slot, version, scale, band.state()]
                for slot, (version, scale, band) in sorted(self._bands.items())
            ],
        ]

    @classmethod
    def from_state(
        cls,
        state: State,
        kinds: Sequence[type[FeatureSet]],
        market: Market | None,
        alpha: float,
        rate: float,
    ) -> Forecasts:
        """Build what goes on from a state.

        Raises:
            StateVersionError: it is of another version, or of other features.
        """
        if len(state) != 7 or state[0] != VERSION or len(state[1]) != len(kinds):
            raise StateVersionError(f"Forecasts: expected version {VERSION}, {len(kinds)} sets")
        made = cls.__new__(cls)
        made.market, made._alpha, made._rate = market, alpha, rate
        made.series = tuple(
            FeatureSeries.from_state(held, kind, market)
            for held, kind in zip(state[1], kinds, strict=True)
        )
        last, closes, made._longest, waiting, bands = state[2:]
        made.last = None if last is None else (last[0], last[1])
        made._closes = {start: close for start, close in closes}
        made._waiting = {}
        for start, close, values in waiting:
            given = Given(*values)
            held = made._waiting.setdefault(start + given.span, [])
            held.append(Waiting(start, close, given))
        made._bands = {}
        for slot, version, scale, learned in bands:
            # The version's own calibration takes its place with the next prediction.
            band = AdaptiveInterval.from_state(learned, Calibration((), scale), alpha, rate)
            made._bands[slot] = (version, scale, band)
        return made

    def replay(self, item: list[Any], names: Sequence[str]) -> None:
        """Take again what was noted of a bar.

        Args:
            item: start, revision, exact, values by `names` (None: emptied), close, what was given.
        """
        start, revision, exact, values, close, given = item
        held = None if values is None else dict(zip(names, values, strict=True))
        self.take(start, revision, held, exact=exact)
        self.settle(start)
        known = [Given(*each) for each in given]
        for each in known:
            self.band(each.slot, each.version, self._calibration(each))
        self.hold(start, close, known)

    def _calibration(self, given: Given) -> Calibration:
        held = self._bands.get(given.slot)
        if held is not None and held[0] == given.version:
            return held[2].calibration
        return Calibration((), given.scale)
