"""How far in event time each input partition is complete, and which of them are waited for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from typing import Final

from app.contracts.portfolio import ProgressRecord
from tables.learning import State

#: Later than every time.
NEVER: Final = 2**63


@dataclass(slots=True)
class Mark:
    """What an input partition has said last, and when; times in ns.

    Attributes:
        mark: records of earlier event times have all come; None before the first word.
        idle: it says that it has nothing more for now.
        historical: it says that it is replayed: how long it is silent means nothing.
        spoken: append time of its last mark.
        given_up: it was silent for too long, until its next mark.
    """

    mark: int | None = None
    idle: bool = False
    historical: bool = False
    spoken: int = 0
    given_up: bool = False

    @property
    def is_waited_for(self) -> bool:
        """Whether nothing later is released before it says more."""
        return not self.idle and not self.given_up


class Marks:
    """Progress of every partition of the inputs; nothing is complete until all have spoken.

    Args:
        inputs: partitions by the input's name.
        own: inputs of which one partition alone speaks here: that of the stage's own number.
        partition: that number.
        patience: ns of append time that something waits for a silent input partition; None: for
            ever.
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        own: Collection[str] = (),
        partition: int = 0,
        patience: int | None = None,
    ) -> None:
        self._marks = {
            (name, number): Mark()
            for name in sorted(inputs)
            for number in ((partition,) if name in own else range(inputs[name]))
        }
        self._names = sorted(inputs)
        self._patience = patience
        #: Something waits since this append time; None: nothing does.
        self.waiting_since: int | None = None
        self._refresh()

    def _refresh(self) -> None:
        """Work out what depends on all marks; they change far less often than they are asked."""
        marks = list(self._marks.values())
        self._lowest = {name: self._lowest_of(name) for name in self._names}
        waited = [each for each in marks if each.is_waited_for]
        known = [each.mark for each in marks if each.mark is not None]
        #: The latest time that any input partition has reached.
        self.latest: int | None = max(known, default=None)
        #: Whether no input partition has more for now.
        self.all_idle = all(each.mark is not None and each.idle for each in marks)
        #: Whether an input partition is being replayed.
        self.historical = any(each.historical for each in marks)
        #: Whether any input partition is waited for.
        self.waits = bool(waited)
        #: The lowest mark of those that are waited for, and where none is, the latest of all; None
        #: where there is no such mark.
        self.watermark: int | None = self.latest
        if waited:
            lowest = [each.mark for each in waited if each.mark is not None]
            self.watermark = min(lowest) if len(lowest) == len(waited) else None
        # In a replay a partition that has never spoken may be empty; those that have, will again.
        self._silent_since = min(
            (each.spoken for each in waited if not (self.historical and each.mark is not None)),
            default=None,
        )

    def _lowest_of(self, name: str) -> int | None:
        marks = [each.mark for (own, _), each in self._marks.items() if own == name]
        known = [mark for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) else None

    def knows(self, name: str, partition: int) -> bool:
        """Whether there is such an input partition."""
        return (name, partition) in self._marks

    def advance(self, record: ProgressRecord, append_time: int) -> None:
        """Take a mark of a known input partition; one that goes back moves no time."""
        entry = self._marks[record.input, record.partition]
        entry.mark = max(record.watermark, record.watermark if entry.mark is None else entry.mark)
        entry.idle, entry.historical = record.idle, record.historical
        entry.spoken, entry.given_up = append_time, False
        self._refresh()

    def of(self, name: str, partition: int | None) -> int | None:
        """The mark of an input partition; without one the input's lowest. None: not known yet."""
        return self._lowest[name] if partition is None else self._marks[name, partition].mark

    @property
    def slowest(self) -> tuple[str, int] | None:
        """The input partition that all others wait for; None where none is waited for."""
        waited = [
            (-1 if each.mark is None else each.mark, where)
            for where, each in self._marks.items()
            if each.is_waited_for
        ]
        return min(waited)[1] if waited else None

    # --- silence ---------------------------------------------------------------------------

    @property
    def patience_ends(self) -> int:
        """The append time from which on the next silent input partition is given up."""
        since, silent = self.waiting_since, self._silent_since
        if self._patience is None or since is None or silent is None:
            return NEVER
        return max(since, silent) + self._patience

    def give_up_silent(self, append_time: int) -> bool:
        """Wait no longer for what has been silent for all the patience; False where nothing was."""
        if self._patience is None or append_time < self.patience_ends:
            return False
        for each in self._marks.values():
            exempt = self.historical and each.mark is not None
            silent = each.spoken + self._patience <= append_time
            if silent and each.is_waited_for and not exempt:
                each.given_up = True
        self._refresh()
        return True

    def give_up_slowest(self) -> bool:
        """Wait no longer for the slowest; False where none is waited for."""
        slowest = self.slowest
        if slowest is None:
            return False
        self._marks[slowest].given_up = True
        self._refresh()
        return True

    # --- state -----------------------------------------------------------------------------

    def content(self) -> State:
        """Plain values: since when something waits; input, partition, mark of those that differ."""
        entries = [[*where, *astuple(each)] for where, each in self._marks.items()]
        return [self.waiting_since, [each for each in entries if each[2:] != list(_UNSPOKEN)]]

    def restore(self, content: State) -> None:
        """Take in what `content` gave."""
        self.waiting_since, entries = content
        for name, partition, *values in entries:
            self._marks[name, partition] = Mark(*values)
        self._refresh()


_UNSPOKEN: Final = astuple(Mark())
