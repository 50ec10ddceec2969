"""Fill-forward: empty windows that the watermark has passed are closed as flagged bars.

A window is filled when the one before it is the symbol's newest bar (or filled itself), at most
`fill_forward_limit` in a row. So a fill follows from the bar before it, and events run from a
heap: each bar that becomes the newest adds the window after it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from tables.events import CLOSE, Causes, Event, event_order
from tables.partial import Partial
from tables.publishing import Publisher
from tables.symbols import Symbols

_Entry = tuple[tuple[int, int, int, int, str], int, int, Event[Partial]]


def run_filling(
    publisher: Publisher,
    symbols: Symbols,
    events: list[Event[Partial]],
    watermark: int,
    causes: Causes,
) -> None:
    """Let the events happen in order, with the fills that follow from them up to the watermark."""
    heap: list[_Entry] = [
        (event_order(event), 0, index, event) for index, event in enumerate(events)
    ]
    heapq.heapify(heap)
    count = len(heap)
    every = [
        (interval, symbol)
        for symbol, state in publisher.states.items()
        for interval in range(len(state.newest))
    ]
    for fill in _fills(publisher, symbols, every, watermark, causes, 0):
        heapq.heappush(heap, (event_order(fill), 1, count, fill))
        count += 1
    publisher.moved.clear()
    while heap:
        event = heapq.heappop(heap)[3]
        publisher.happen(event)
        if publisher.moved:
            for fill in _fills(publisher, symbols, publisher.moved, watermark, causes, event.cause):
                heapq.heappush(heap, (event_order(fill), 1, count, fill))
                count += 1
            publisher.moved.clear()


def _fills(
    publisher: Publisher,
    symbols: Symbols,
    moved: Iterable[tuple[int, int]],
    watermark: int,
    causes: Causes,
    cause: int,
) -> list[Event[Partial]]:
    """Closes of the empty windows after the newest bars, not before `cause`."""
    windows: list[tuple[int, int, int, int]] = []
    lengths = publisher.lengths
    for interval, symbol in moved:
        newest = publisher.states[symbol].newest[interval]
        if newest is not None and newest + 2 * lengths[interval] <= watermark:
            windows.append((newest + 2 * lengths[interval], interval, symbol, newest))
    found = causes([window[0] for window in windows])
    return [
        Event(
            max(first, cause), CLOSE, end, lengths[interval], symbols.names[symbol], interval,
            symbol, newest + lengths[interval], None, False,
        )
        for first, (end, interval, symbol, newest) in zip(found, windows, strict=True)
    ]  # fmt: skip
