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
from typing import Any

import msgspec

from app.contracts.wire import BarRecord
from tables.indicators.base import Context, Indicator
from tables.indicators.compiled import Plan, kernel, plan_of, session_of
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


# Looking up a member on its class takes 0.15 us (CPython 3.11), longer than most indicators.
_NEW, _REVISED, _EMPTIED = Outcome.NEW, Outcome.REVISED, Outcome.EMPTIED
_encode = msgspec.msgpack.Encoder().encode
_decode: Any = msgspec.msgpack.Decoder(list).decode
#: Of a row, with the state of each indicator left as it is.
_decode_row = msgspec.msgpack.Decoder(
    tuple[int, list[str], int | None, int, bool, int | None, int, list[msgspec.Raw]]
).decode


class IndicatorSet:
    """Chosen indicators of one symbol and interval."""

    __slots__ = (
        "_context",
        "_fill_forward",
        "_judges",
        "_kernel",
        "_older",
        "_others",
        "_plan",
        "_requests",
        "_session_of",
        "_since",
        "_taken",
        "revision",
        "start",
    )

    def __init__(
        self,
        requests: Sequence[Request],
        context: Context | None = None,
        *,
        fill_forward: bool = False,
        use_kernel: bool = True,
    ) -> None:
        """Begin without bars.

        Args:
            use_kernel: false: without the compiled module, which changes no bit.
        """
        self._begin(requests, plan_of(requests, use_kernel=use_kernel), context, fill_forward)
        self._others = [requests[place].create(context) for place in self._plan.others]

    def _begin(
        self,
        requests: Sequence[Request],
        plan: Plan,
        context: Context | None,
        fill_forward: bool,
    ) -> None:
        self._requests, self._plan, self._context = requests, plan, context
        self._fill_forward = fill_forward
        self._session_of = session_of(context) if plan.sessions else None
        self._kernel = None if plan.program is None else kernel.Kernel(plan.program)
        self._others = list[Indicator]()
        #: Start and revision of the newest bar; nothing was seen while there is no start.
        self.start: int | None = None
        self.revision = 0
        #: Whether the newest bar is in the indicators (it is not, if it was emptied).
        self._taken = False
        #: The newest of the older bars that came too late, and bars taken since; or None.
        self._older: int | None = None
        self._since = 0
        #: Indicators that say what they forget; only while there is such a bar.
        self._judges: Sequence[Indicator] = ()

    def take(self, bar: BarRecord) -> Outcome:
        """Take a bar."""
        start = self.start
        emptied = bar.filled and not self._fill_forward and bar.trades == 0
        if start is None or bar.start > start:
            self.start, self.revision, self._taken = bar.start, bar.revision, not emptied
            if emptied:
                return _EMPTIED
            self._update(bar)
            return _NEW
        if bar.start < start:
            self._older = bar.start if self._older is None else max(self._older, bar.start)
            self._since = 0
            return Outcome.OLDER
        if bar.revision <= self.revision:
            return Outcome.REPEATED
        self.revision = bar.revision
        if self._taken:
            if self._kernel is not None:
                self._kernel.revert()
            for indicator in self._others:
                indicator.revert()
            self._since = max(0, self._since - 1)
        self._taken = not emptied
        if emptied:
            return _EMPTIED
        self._update(bar)
        return _REVISED

    def _update(self, bar: BarRecord) -> None:
        if self._kernel is not None:
            session_of = self._session_of
            self._kernel.update(bar, 0 if session_of is None else session_of(bar.start))
        for indicator in self._others:
            indicator.update(bar)
        if self._older is not None:
            self._grow_older()

    @property
    def exact(self) -> bool:
        """Whether all values are as if every bar had come once, in its highest revision."""
        return self._older is None

    def _grow_older(self) -> None:
        self._since += 1
        older, newest = self._older, self.start
        if older is None or newest is None:
            return
        if not self._judges:
            # What an indicator forgets depends on its parameters alone.
            self._judges = [each.create(self._context) for each in self._requests]
        if all(each.forgot(older, self._since, newest) for each in self._judges):
            self._older, self._judges = None, ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order asked for."""
        return self._plan.names

    def outputs(self) -> list[float | None]:
        """Return each output in the order of `names`; None in the warm-up.

        After `EMPTIED` they are those after the bar before.
        """
        values: list[float | None] = [] if self._kernel is None else self._kernel.values()
        if not self._others:
            places = self._plan.places
            return values if places is None else [values[place] for place in places]
        for number, indicator in zip(self._plan.others, self._others, strict=True):
            value = indicator.value
            if value is None:
                values += (None,) * len(self._requests[number].names)
            elif value.__class__ is tuple:
                values += value
            else:
                values.append(value)  # type: ignore[arg-type]
        places = self._plan.places
        return values if places is None else [values[place] for place in places]

    def values(self) -> dict[str, float | None]:
        """Return `outputs` by name."""
        return dict(zip(self._plan.names, self.outputs(), strict=True))

    def state(self) -> State:
        """Return plain values from which `from_state` goes on, bit for bit."""
        states = self._states()
        for place in self._plan.compiled:
            states[place] = _decode(states[place])
        return self._whole(states)

    def packed(self) -> bytes:
        """Return the msgpack bytes of `state`, which take a twentieth of its time to make."""
        return _encode(self._whole(self._states()))

    def _states(self) -> list[Any]:
        """Of each indicator; those of the compiled ones in bytes."""
        plan = self._plan
        if self._kernel is None:
            return [indicator.state() for indicator in self._others]
        packed: list[bytes] = self._kernel.packed(plan.versions)
        states: list[Any] = [None] * len(self._requests)
        for place, content in zip(plan.compiled, packed, strict=True):
            states[place] = msgspec.Raw(content)
        for place, indicator in zip(plan.others, self._others, strict=True):
            states[place] = indicator.state()
        return states

    def _whole(self, states: list[Any]) -> State:
        return [
            VERSION,
            list(self._plan.labels),
            self.start,
            self.revision,
            self._taken,
            self._older,
            self._since,
            states,
        ]

    @classmethod
    def from_state(
        cls,
        state: State,
        requests: Sequence[Request],
        context: Context | None = None,
        *,
        fill_forward: bool = False,
        use_kernel: bool = True,
    ) -> IndicatorSet:
        """Build the set that goes on from a state.

        Raises:
            StateVersionError: the state is of another version, or of other indicators.
        """
        return cls.from_packed(
            _encode(state), requests, context, fill_forward=fill_forward, use_kernel=use_kernel
        )

    @classmethod
    def from_packed(
        cls,
        row: bytes,
        requests: Sequence[Request],
        context: Context | None = None,
        *,
        fill_forward: bool = False,
        use_kernel: bool = True,
    ) -> IndicatorSet:
        """Build the set that goes on from what `packed` returned.

        Raises:
            StateVersionError: it is of another version, or of other indicators.
        """
        plan = plan_of(requests, use_kernel=use_kernel)
        try:
            version, labels, start, revision, taken, older, since, states = _decode_row(row)
        except msgspec.ValidationError as error:
            raise StateVersionError(f"the state is none of version {VERSION}: {error}") from error
        if version != VERSION or tuple(labels) != plan.labels or len(states) != len(labels):
            raise StateVersionError(
                f"the state is of version {version} and of the indicators {labels}; expected "
                f"version {VERSION} and {list(plan.labels)}"
            )
        made = cls.__new__(cls)
        made._begin(requests, plan, context, fill_forward)
        made._restore(states)
        made.start, made.revision, made._taken = start, revision, taken
        made._older, made._since = older, since
        return made

    def _restore(self, states: Sequence[msgspec.Raw]) -> None:
        requests, plan = self._requests, self._plan
        compiled: Any = self._kernel
        for number, place in enumerate(plan.compiled):
            try:
                compiled.unpack(number, bytes(states[place]), plan.versions[number])
            except ValueError as error:
                raise StateVersionError(
                    f"{requests[place].kind.__name__}: the state does not fit: {error}"
                ) from error
        self._others = [
            requests[place].restore(_decode(states[place]), self._context) for place in plan.others
        ]
