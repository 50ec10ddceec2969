"""What was handed to a driver, what of it is durable, and what the group knows, by partition.

All positions are next offsets. A position may be let go when the driver has told that all before
it is written; positions behind the last record that was handed over (markers of transactions,
aborted batches) need no word of the driver, since nothing of them is to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.contracts.batch import RecordBatch
from app.sinks.driver import Place


@dataclass(slots=True)
class _Standing:
    #: Behind the last batch that was handed over.
    handed: int
    #: Behind the last record of it.
    needed: int
    #: Told to be durable.
    told: int
    #: What the group has; None: not known.
    known: int | None

    @property
    def durable(self) -> int:
        return self.handed if self.told >= self.needed else self.told


class Ledger:
    """The standings of the partitions that are written here."""

    def __init__(self) -> None:
        self._standings: dict[Place, _Standing] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._standings

    @property
    def places(self) -> list[Place]:
        """The partitions, sorted."""
        return sorted(self._standings)

    @property
    def waiting(self) -> bool:
        """Whether a record was handed over that is not durable yet."""
        return any(each.told < each.needed for each in self._standings.values())

    def meet(self, place: Place, position: int) -> None:
        """Begin a partition where the group's offset has led; nothing changes for a known one."""
        if place not in self._standings:
            self._standings[place] = _Standing(position, position, position, position)

    def keep(self, place: Place, position: int) -> None:
        """Begin a partition where the outside system says; the group may not know that."""
        self._standings[place] = _Standing(position, position, position, None)

    def hand(self, place: Place, batch: RecordBatch) -> None:
        """Note a batch that the driver has taken; the partition was begun before."""
        standing = self._standings[place]
        # Only forwards: what is read again below a durable position was written already.
        standing.handed = max(standing.handed, batch.next)
        if len(batch):
            standing.needed = max(standing.needed, int(batch.offsets[-1]) + 1)

    def tell(self, positions: Mapping[Place, int]) -> None:
        """Note what is durable; never more than was handed over, and of our partitions alone."""
        for place, position in positions.items():
            standing = self._standings.get(place)
            if standing is not None:
                standing.told = max(standing.told, min(position, standing.handed))

    def expected(self, place: Place) -> int | None:
        """Position of the next batch; None of a partition that has not begun."""
        standing = self._standings.get(place)
        return None if standing is None else standing.handed

    def positions(self) -> dict[Place, int]:
        """Where each partition would be read on after a restart of the driver."""
        return {place: each.durable for place, each in self._standings.items()}

    def owed(self) -> dict[Place, int]:
        """Positions that the group should be told."""
        return {
            place: each.durable
            for place, each in self._standings.items()
            if each.durable != each.known
        }

    def paid(self, positions: Mapping[Place, int]) -> None:
        """Note that the group knows these positions."""
        for place, position in positions.items():
            if place in self._standings:
                self._standings[place].known = position

    def drop(self, places: Iterable[Place]) -> None:
        """Forget partitions."""
        for place in list(places):
            self._standings.pop(place, None)
