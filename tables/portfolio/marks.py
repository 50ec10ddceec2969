"""How far in event time each input partition is complete, and so the stage as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from tables.learning import State


class Marks:
    """Progress of every partition of the inputs; nothing is complete until all have spoken.

    Args:
        inputs: partitions by the input's name.
    """

    def __init__(self, inputs: Mapping[str, int]) -> None:
        #: (input, partition) to (mark, idle): records of earlier event times have all come.
        self._marks: dict[tuple[str, int], tuple[int, bool] | None] = {
            (name, partition): None for name in sorted(inputs) for partition in range(inputs[name])
        }
        self._lowest: dict[str, int | None] = dict.fromkeys(inputs)

    def knows(self, name: str, partition: int) -> bool:
        """Whether there is such an input partition."""
        return (name, partition) in self._marks

    def advance(self, name: str, partition: int, mark: int, idle: bool) -> None:
        """Take a mark; one that goes back changes nothing but `idle`."""
        known = self._marks[name, partition]
        self._marks[name, partition] = (mark if known is None else max(mark, known[0]), idle)
        lowest = self._lowest[name]
        if known is None or lowest is None or known[0] <= lowest:
            self._lowest[name] = self._lowest_of(name)

    def _lowest_of(self, name: str) -> int | None:
        marks = [mark for (each, _), mark in self._marks.items() if each == name]
        known = [mark[0] for mark in marks if mark is not None]
        return min(known) if len(known) == len(marks) else None

    def of(self, name: str, partition: int | None) -> int | None:
        """The mark of an input partition; without one the input's lowest. None: not known yet."""
        if partition is None:
            return self._lowest[name]
        mark = self._marks[name, partition]
        return None if mark is None else mark[0]

    @property
    def slowest(self) -> tuple[str, int] | None:
        """The input partition that all others wait for; None where all are idle."""
        waited = [
            (-1 if mark is None else mark[0], where)
            for where, mark in self._marks.items()
            if mark is None or not mark[1]
        ]
        return min(waited)[1] if waited else None

    @property
    def all_idle(self) -> bool:
        """Whether no input partition has more for now."""
        return all(mark is not None and mark[1] for mark in self._marks.values())

    @property
    def watermark(self) -> int | None:
        """The lowest mark of those that are waited for; None where one is missing or none is."""
        lowest: int | None = None
        for mark in self._marks.values():
            if mark is None:
                return None
            if not mark[1] and (lowest is None or mark[0] < lowest):
                lowest = mark[0]
        return lowest

    def content(self) -> State:
        """Plain values: input, partition, mark, idle of each that has spoken."""
        return [[*where, *mark] for where, mark in self._marks.items() if mark is not None]

    def restore(self, content: State) -> None:
        """Take in what `content` gave."""
        for name, partition, mark, idle in content:
            self._marks[name, partition] = (mark, idle)
        for name in self._lowest:
            self._lowest[name] = self._lowest_of(name)
