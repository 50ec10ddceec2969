"""Places in the log from which bars can be made anew: offsets with the maximum before them.

The maximum event time decides what is late and which ids are remembered, so a second reading
that begins at an anchor judges every record as the first one did. One anchor a minute of event time
is kept, for as long as a trade may be corrected, and the first one always. Where anchors lie never
changes a result, only how much is read.
"""

from __future__ import annotations

from typing import NamedTuple

from tables.identifiers import MINUTE
from tables.rows import anchor_key, encode_anchor


class Anchor(NamedTuple):
    """The maximum (ns, None for none) of the records before `offset`."""

    offset: int
    maximum: int | None


class Anchors:
    """The anchors of one partition, by offset.

    Args:
        slack: how far (ns) an event time may lie ahead of the maximum that it moved.
    """

    def __init__(self, slack: int) -> None:
        self._slack = slack
        self._anchors: list[Anchor] = []
        self._fresh: list[Anchor] = []
        self._forgotten: list[bytes] = []

    def __len__(self) -> int:
        return len(self._anchors)

    def begin(self, offset: int) -> None:
        """The log begins here; nothing is before it."""
        if not self._anchors:
            self._add(Anchor(offset, None))

    def note(self, offset: int, maximum: int) -> bool:
        """A batch ended before `offset`; a minute after the last anchor this becomes one."""
        last = self._anchors[-1].maximum
        if last is not None and maximum // MINUTE <= last // MINUTE:
            return False
        self._add(Anchor(offset, maximum))
        return True

    def _add(self, anchor: Anchor) -> None:
        self._anchors.append(anchor)
        self._fresh.append(anchor)

    def reach(self, anchor: Anchor) -> int | None:
        """No record before the anchor has a later event time (ns); None where there is none."""
        return None if anchor.maximum is None else anchor.maximum + self._slack

    def before(self, time: int) -> Anchor:
        """The last anchor with no record of event time `time` (ns) or later before it."""
        found = self._anchors[0]
        for anchor in self._anchors:
            reach = self.reach(anchor)
            if reach is not None and reach >= time:
                break
            found = anchor
        return found

    def earlier(self, anchor: Anchor) -> Anchor:
        """An anchor about twice as far back; the first one where there is none."""
        place = self._anchors.index(anchor)
        distance = len(self._anchors) - place
        return self._anchors[max(0, place - distance)]

    def passed(self, time: int) -> Anchor | None:
        """The first anchor whose maximum is at or after `time` (ns)."""
        for anchor in self._anchors:
            if anchor.maximum is not None and anchor.maximum >= time:
                return anchor
        return None

    def forget(self, time: int) -> None:
        """Release what lies before the last anchor `before(time)`, but the first one."""
        keep = self._anchors.index(self.before(time))
        gone, self._anchors[1:keep] = self._anchors[1:keep], []
        for anchor in gone:
            if anchor in self._fresh:
                self._fresh.remove(anchor)
            else:
                self._forgotten.append(anchor_key(anchor.offset))

    def take_changes(self) -> list[tuple[bytes, bytes | None]]:
        """Rows to store and to delete since the last call."""
        fresh, self._fresh = self._fresh, []
        forgotten, self._forgotten = self._forgotten, []
        return [
            *((key, None) for key in forgotten),
            *((anchor_key(anchor.offset), encode_anchor(anchor.maximum)) for anchor in fresh),
        ]

    def restore(self, anchor: Anchor) -> None:
        """Take in a stored anchor; they come by offset."""
        self._anchors.append(anchor)
