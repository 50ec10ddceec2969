"""State rows of many windows at once: by the compiled module, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tables.aggregate import Held
from tables.outbox import SymbolState
from tables.partial import COMPILED, Partial
from tables.quote_partial import QuotePartial
from tables.rows import closed_key, corrected_key, encode_closed, encode_symbol, symbol_key

Rows = list[tuple[bytes, bytes | None]]
#: Interval index, symbol code, number of the window: in its ring, or in all where the last is true.
Slot = tuple[int, int, int, bool]

if COMPILED:
    from tables import _partials as compiled


def closed_rows(
    windows: Mapping[Slot, tuple[int, Held]],
    names: list[str],
    lengths: Sequence[int],
    aggregate: type[Held],
) -> Rows:
    """Rows of closed windows by slot: start and aggregate, of the class `aggregate`."""
    if _is_compiled(aggregate):
        return compiled.closed_rows(windows, names, lengths, corrected_key)
    return [
        (slot_key(slot, names, lengths), encode_closed(start, partial))
        for slot, (start, partial) in windows.items()
    ]


def slot_key(slot: Slot, names: list[str], lengths: Sequence[int]) -> bytes:
    """Key of a closed window's row."""
    interval, symbol, number, own = slot
    name, length = names[symbol], lengths[interval]
    if own:
        return corrected_key(name, length, number * length)
    return closed_key(name, length, number)


def symbol_rows(
    symbols: Iterable[int],
    names: list[str],
    state_of: Callable[[int], SymbolState],
    flushed: Mapping[int, set[tuple[int, int]]],
    lengths: Sequence[int],
    opened: list[dict[int, dict[int, Held]]],
    aggregate: type[Held],
) -> Rows:
    """Rows of symbols with their open windows.

    Args:
        symbols: codes; `names` and `state_of` go by them.
        flushed: (interval index, start) of windows that a flush has closed, by symbol.
        opened: for each interval start -> symbol code -> aggregate.
    """
    if _is_compiled(aggregate):
        return compiled.symbol_rows(symbols, names, state_of, flushed, lengths, opened)
    rows: Rows = []
    for symbol in symbols:
        state = state_of(symbol)
        held = [
            (lengths[interval], start, at_start[symbol])
            for interval, by_start in enumerate(opened)
            for start, at_start in by_start.items()
            if symbol in at_start
        ]
        ended = sorted((lengths[interval], start) for interval, start in flushed.get(symbol, ()))
        row = encode_symbol(state.newest, state.runs, ended, held)
        rows.append((symbol_key(names[symbol]), row))
    return rows


def _is_compiled(aggregate: type[Any]) -> bool:
    return COMPILED and aggregate in (Partial, QuotePartial)
