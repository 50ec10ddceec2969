"""The indicators of one symbol and interval, and what becomes of revised bars.

Bars come in the order of the log. What `take` does with one, by its start and revision:

- newer than the last: taken (`NEW`);
- the last once more, with a higher revision: the last is undone and this one taken (`REVISED`):
  as exact as if it had come first;
- the last, emptied (a correction took its last trade: `filled`, no trades, fill-forward off): the
  last is undone and nothing taken (`EMPTIED`). The bar before it cannot be undone a second time:
  a revision of that one is older. A later revision of the emptied bar is taken like a new bar;
- the last with the same or a lower revision: `REPEATED`, ignored;
- an older one, or one between: `OLDER`, ignored. What windows and averages hold of it is now other
  than the truth, so `exact` is false until each indicator has forgotten that bar: windows when it
  has left them, averages when a change in it weighs less than 10^-9, the session's VWAP with the
  next session, totals since the first bar never.

With fill-forward bars (`filled`) are input like others; without it one that was never taken is
`EMPTIED` and only noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from app.contracts.wire import BarRecord
from tables.indicators.base import Context, Indicator
from tables.indicators.registry import Request
from tables.learning import State, StateVersionError

VERSION = 1


class Outcome(Enum):
    """What became of a bar."""

    NEW = "new"
    REVISED = "revised"
    EMPTIED = "emptied"
    REPEATED = "repeated"
    OLDER = "older"


class IndicatorSet:
    """Chosen indicators of one symbol and interval."""

    def __init__(
        self,
        requests: Sequence[Request],
        context: Context | None = None,
        *,
        fill_forward: bool = False,
    ) -> None:
        self._begin(requests, [each.create(context) for each in requests], fill_forward)

    def _begin(
        self, requests: Sequence[Request], made: Sequence[Indicator], fill_forward: bool
    ) -> None:
        self._requests = requests
        self._fill_forward = fill_forward
        self._indicators = tuple(made)
        self._updates = tuple(each.update for each in self._indicators)
        self._names = tuple(name for each in requests for name in each.names)
        self._nothing = tuple((None,) * len(each.names) for each in requests)
        #: Start and revision of the newest bar; nothing was seen while there is no start.
        self.start: int | None = None
        self.revision = 0
        #: Whether the newest bar is in the indicators (it is not, if it was emptied).
        self._taken = False
        #: The newest of the older bars that came too late, and bars taken since; or None.
        self._older: int | None = None
        self._since = 0

    def take(self, bar: BarRecord) -> Outcome:
        """Take a bar."""
        start = self.start
        emptied = bar.filled and not self._fill_forward and bar.trades == 0
        if start is None or bar.start > start:
            self.start, self.revision, self._taken = bar.start, bar.revision, not emptied
            if emptied:
                return Outcome.EMPTIED
            for update in self._updates:
                update(bar)
            if self._older is not None:
                self._grow_older()
            return Outcome.NEW
        if bar.start < start:
            self._older = bar.start if self._older is None else max(self._older, bar.start)
            self._since = 0
            return Outcome.OLDER
        if bar.revision <= self.revision:
            return Outcome.REPEATED
        self.revision = bar.revision
        if self._taken:
            for indicator in self._indicators:
                indicator.revert()
            self._since = max(0, self._since - 1)
        self._taken = not emptied
        if emptied:
            return Outcome.EMPTIED
        for update in self._updates:
            update(bar)
        if self._older is not None:
            self._grow_older()
        return Outcome.REVISED

    @property
    def exact(self) -> bool:
        """Whether all values are as if every bar had come once, in its highest revision."""
        return self._older is None

    def _grow_older(self) -> None:
        self._since += 1
        older, newest = self._older, self.start
        if (
            older is not None
            and newest is not None
            and all(each.forgot(older, self._since, newest) for each in self._indicators)
        ):
            self._older = None

    def values(self) -> dict[str, float | None]:
        """Return each output by its name, in the order asked for; None in the warm-up.

        After `EMPTIED` they are those after the bar before.
        """
        values: list[float | None] = []
        for indicator, nothing in zip(self._indicators, self._nothing, strict=True):
            value = indicator.value
            if value is None:
                values += nothing
            elif value.__class__ is tuple:
                values += value
            else:
                values.append(value)  # type: ignore[arg-type]
        return dict(zip(self._names, values, strict=True))

    def state(self) -> State:
        """Return plain values from which `from_state` goes on, bit for bit."""
        return [
            VERSION,
            [each.label for each in self._requests],
            self.start,
            self.revision,
            self._taken,
            self._older,
            self._since,
            [each.state() for each in self._indicators],
        ]

    @classmethod
    def from_state(
        cls,
        state: State,
        requests: Sequence[Request],
        context: Context | None = None,
        *,
        fill_forward: bool = False,
    ) -> IndicatorSet:
        """Build the set that goes on from a state.

        Raises:
            StateVersionError: the state is of another version, or of other indicators.
        """
        labels = [each.label for each in requests]
        if state[:2] != [VERSION, labels] or len(state) != 8 or len(state[7]) != len(labels):
            raise StateVersionError(
                f"the state is of version {state[0] if state else 'none'} and of the indicators "
                f"{state[1] if len(state) > 1 else 'none'}; expected version {VERSION} and {labels}"
            )
        restored = [
            request.restore(held, context) for request, held in zip(requests, state[7], strict=True)
        ]
        made = cls.__new__(cls)
        made._begin(requests, restored, fill_forward)
        made.start, made.revision, made._taken, made._older, made._since = state[2:7]
        return made
