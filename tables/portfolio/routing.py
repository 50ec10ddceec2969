"""From the bars of one partition to prices and progress marks for every portfolio partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from app.contracts.portfolio import PriceRecord, ProgressRecord
from app.contracts.wire import BarRecord
from tables.portfolio.configuration import BARS

STATE_VERSION: Final = 1


class Sent(NamedTuple):
    """A record for a partition of the portfolio's input topic; a mark has no key."""

    partition: int
    key: bytes | None
    record: PriceRecord | ProgressRecord


def crosses(mark: int, before: int | None, interval: int) -> bool:
    """Whether a mark is worth telling after `before`: a multiple of the interval lies between.

    A mark just beyond a multiple is; a mark at it lets nothing go that is due there.
    """
    return before is None or (mark - 1) // interval > (before - 1) // interval


class PriceRouter:
    """Sends each close of the pricing interval, and marks, to all partitions of the portfolio.

    Bars of one partition are published in the order of their ends, whatever their interval, but
    for revisions. So a bar that ends at T says that all that ended before T have come, and that is
    its mark; the close of a bar is a record at its end. Bars longer than the pricing interval say
    nothing: a flush ends them far ahead of the data. A bar filled forward is no new price; one that
    a correction has emptied is, at the close before it.

    Args:
        partition: of the bars.
        partitions: of the portfolio's input.
        label: of the pricing interval.
        lengths: in ns, of the intervals that bars come in, by label.
        mark_interval: ns of event time between marks, about.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        label: str,
        lengths: Mapping[str, int],
        mark_interval: int,
    ) -> None:
        self._partition = partition
        self._targets = range(partitions)
        self._label = label
        longest = lengths[label]
        self._lengths = {name: length for name, length in lengths.items() if length <= longest}
        self._mark_interval = mark_interval
        #: That was told last.
        self._mark: int | None = None

    def take(self, bar: BarRecord, position: int) -> list[Sent]:
        """Take the next bar of the partition; `position` is its offset."""
        length = self._lengths.get(bar.interval)
        if length is None:
            return []
        sent: list[Sent] = []
        end = bar.start + length
        if crosses(end, self._mark, self._mark_interval):
            self._mark = end
            mark = ProgressRecord(BARS, self._partition, end)
            sent += [Sent(target, None, mark) for target in self._targets]
        if bar.interval == self._label and not (bar.filled and bar.revision == 0):
            price = PriceRecord(
                bar.symbol, bar.interval, bar.start, end, bar.close, bar.revision, self._partition
            )
            sent += [Sent(target, bar.symbol.encode(), price) for target in self._targets]
        return sent

    def state(self) -> list[Any]:
        """Plain values, the version first."""
        return [STATE_VERSION, self._mark]

    def restore(self, state: list[Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: it is of another version.
        """
        version, mark = state
        if version != STATE_VERSION:
            raise ValueError(f"a router of version {version}, this code reads {STATE_VERSION}")
        self._mark = mark
