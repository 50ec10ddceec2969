"""Child of `tests.bench.scale`: one partition's state alone, without Kafka; prints JSON.

`python -m tests.bench.scale_state MODE SYMBOLS`, a process for each measurement, so that nothing
that came before is in its memory. Modes:

- `open`: bytes that open windows of all intervals take, by first trades without ids;
- `ids`: bytes that trade ids take, minute by minute of event time, beyond their horizon;
- `closed`: bytes of the rows that closed windows leave in the store, over the horizon;
- `apply`: processor time a trade, of applying it and of its checkpoints;
- `take`: processor time to freeze a checkpoint in which each symbol has changed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import numpy as np
import psutil

from agents.windowed import bars_configuration
from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.streaming.tuning import tune_process
from tables.bars import BarsPartition
from tables.rows import CLOSED_PREFIX
from tables.snapshot import take
from tests.bench.ticks import BEGIN, RATE, SOURCES, VENUES, Ticks, chunks, make_ticks

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
#: Records of a batch, so few that their own memory is given back.
BATCH = 500
#: Symbols that are there before the first measurement: what is made once is made by then.
FIRST_SYMBOLS = 16
#: Of `ids`: trades a second and minutes of event time, more than twice the default horizon.
IDS_A_SECOND, ID_MINUTES = 500, 40
#: Of `closed`: longer than the longest interval.
CLOSED_MINUTES = 30
#: Of `apply`: seconds of event time, and trades at least; batches as of a backlog, and a checkpoint
#: for so many of them: each tenth of a second where there are a million trades a second.
APPLIED_SECONDS, APPLIED_LEAST = 2.5, 500_000
BATCH_OF_APPLIED, CHECKPOINT_BATCHES = 20_000, 5
ROUNDS = 2
MODES = ("open", "ids", "closed", "apply", "take")


def trade(symbol: int, moment: int, number: int, *, identified: bool) -> bytes:
    """Return the value of a trade of the full contract; without its id where that is told apart."""
    identity = f'"trade_id":"{52_983_525_000_000 + number}",' if identified else ""
    return (
        f'{{"symbol":"S{symbol:06d}","price":{100 + symbol % 997 / 100!r},"size":100,'
        f'"event_time":{moment},"sequence":{number},{identity}'
        f'"venue":"{VENUES[number % len(VENUES)]}","conditions":["odd_lot"],'
        f'"source":"{SOURCES[number % len(SOURCES)]}"}}'
    ).encode()


class State:
    """A new partition with the default settings, whose store keeps nothing."""

    def __init__(self) -> None:
        configuration = bars_configuration(Settings(topics={"partitions": 1}))  # type: ignore[arg-type]
        self.partition = BarsPartition(configuration, 0, lambda key: None)
        self.partition.begin(0)

    def apply(self, values: Sequence[bytes], moment: int) -> None:
        """Apply a batch that was appended at a moment (ns)."""
        base = self.partition.next or 0
        count = len(values)
        self.partition.apply(
            RecordBatch(
                *("ticks", 0, base, base + count, values),
                np.arange(base, base + count, dtype=np.int64),
                np.full(count, moment, dtype=np.int64),
            )
        )

    def feed(self, values: Iterable[bytes], moment: int) -> None:
        """Apply any number of values in small batches, made as they are needed."""
        source = iter(values)
        while batch := list(islice(source, BATCH)):
            self.apply(batch, moment)

    def checkpoint(self) -> tuple[int, int]:
        """Freeze and forget; how many rows and outputs there were."""
        taken = take(self.partition, "topic")
        self.partition.windows.stored()
        return len(taken.rows), sum(map(len, taken.outputs.values()))


def private_bytes() -> int:
    """Return the bytes that this process alone holds."""
    gc.collect()
    return int(psutil.Process().memory_full_info().uss)


def open_windows(symbols: int) -> dict[str, float]:
    """Measure what first trades leave, and the next second's, whose windows open beside."""

    def second(number: int, numbers: range) -> Iterator[bytes]:
        moment = BEGIN + number * SECOND
        return (trade(each, moment, each, identified=False) for each in numbers)

    state = State()
    known, more = range(FIRST_SYMBOLS), range(FIRST_SYMBOLS, FIRST_SYMBOLS + symbols)
    for number in range(2):
        state.feed(second(number, known), BEGIN)
    state.checkpoint()
    before = private_bytes()
    # The clock is at the second one: both are open.
    state.feed(second(0, more), BEGIN)
    one = private_bytes()
    state.feed(second(1, more), BEGIN)
    two = private_bytes()
    rows, _ = state.checkpoint()
    after = private_bytes()
    assert rows > symbols
    opened = [sum(map(len, windows.values())) for windows in state.partition.windows.open]
    return {
        "symbols": symbols,
        "windows": sum(opened) - FIRST_SYMBOLS * (len(opened) + 1),
        "bytes_a_symbol": (one - before) / symbols,
        "bytes_a_symbol_two_seconds": (two - before) / symbols,
        "bytes_a_symbol_after_checkpoint": (after - before) / symbols,
    }


def identifiers(symbols: int) -> dict[str, object]:
    """Measure trade ids minute by minute; each second so many trades of some symbols."""
    state = State()
    number = 0
    held: list[int] = []
    used: list[int] = []
    for minute in range(ID_MINUTES):
        for second in range(60):
            moment = BEGIN + minute * MINUTE + second * SECOND
            numbers = range(number, number + IDS_A_SECOND)
            state.feed((trade(n % symbols, moment, n, identified=True) for n in numbers), moment)
            number += IDS_A_SECOND
            # As the engine does it, about.
            state.checkpoint()
        held.append(len(state.partition.identifiers))
        used.append(private_bytes())
    full = held.index(max(held))
    return {
        "symbols": symbols,
        "ids_a_second": IDS_A_SECOND,
        "held": held,
        "bytes": used,
        "bytes_an_id": (used[full] - used[0]) / (held[full] - held[0]),
        "horizon_minutes": state.partition.configuration.correction_horizon / MINUTE,
    }


def closed_windows(symbols: int) -> dict[str, float]:
    """Measure the rows of closed windows: a trade a second of each symbol."""
    state = State()
    configuration = state.partition.configuration
    sizes: dict[bytes, int] = {}
    used = [private_bytes()]
    for second in range(CLOSED_MINUTES * 60):
        moment = BEGIN + second * SECOND
        numbers = range(symbols)
        state.feed((trade(n, moment, second, identified=False) for n in numbers), moment)
        for key, value in take(state.partition, "topic").rows:
            # Of the first symbol alone, so that what is noted does not weigh here.
            if key.startswith(CLOSED_PREFIX + b"S000000\0") and value is not None:
                sizes[key] = len(key) + len(value)
        state.partition.windows.stored()
        if second % 60 == 59:
            used.append(private_bytes())
    horizon = configuration.correction_horizon / MINUTE
    slots = [configuration.slots(length) for length in configuration.intervals]
    return {
        "symbols": symbols,
        "rows_a_symbol": len(sizes),
        "rows_a_symbol_at_most": sum(slots),
        "bytes_a_symbol": sum(sizes.values()),
        "bytes_a_symbol_and_minute_of_horizon": sum(sizes.values()) / horizon,
        "horizon_minutes": horizon,
        # In memory, from the horizon's end on: closed windows are not kept there.
        "bytes_of_memory_a_symbol": (used[-1] - used[int(horizon) + 2]) / symbols,
    }


def applying(symbols: int, rate: int) -> dict[str, float]:
    """Measure the processor time a trade, the least of some rounds.

    The first second of event time is left out: in it each symbol is new, and opens all its windows.
    """
    ticks = make_ticks(max(APPLIED_LEAST, int(APPLIED_SECONDS * rate)), symbols, 0, rate=rate)
    skipped = -(-rate // BATCH_OF_APPLIED)
    tune_process()
    rounds = [_apply(ticks, skipped) for _ in range(ROUNDS)]
    trades, rows, bars = rounds[0][2:]
    return {
        "symbols": symbols,
        "rate": rate,
        "apply_us_a_trade": min(each[0] for each in rounds) / trades * 1e6,
        "take_us_a_trade": min(each[1] for each in rounds) / trades * 1e6,
        "rows_a_trade": rows / trades,
        "bars_a_trade": bars / trades,
    }


def _apply(ticks: Ticks, skipped: int) -> tuple[float, float, int, int, int]:
    """Seconds of applying and of checkpoints, trades, rows and bars, but for some first batches."""
    state = State()
    applying = taking = 0.0
    trades = rows = bars = 0
    for number, (values,) in enumerate(chunks(ticks, 1, BATCH_OF_APPLIED)):
        last = min((number + 1) * BATCH_OF_APPLIED, len(ticks)) - 1
        began = time.thread_time()
        state.apply(values, int(ticks.event_time[last]))
        between = time.thread_time()
        counts = (0, 0) if (number + 1) % CHECKPOINT_BATCHES else state.checkpoint()
        ended = time.thread_time()
        if number >= skipped:
            applying, taking = applying + between - began, taking + ended - between
            trades, rows, bars = trades + len(values), rows + counts[0], bars + counts[1]
    assert state.partition.counts["applied"] == len(ticks)
    return applying, taking, trades, rows, bars


def taking(symbols: int) -> dict[str, float]:
    """Measure a checkpoint's freeze with a changed row for each symbol, the least of some."""
    state = State()
    tune_process()
    found: list[float] = []
    for number in range(3 * ROUNDS):
        moment = BEGIN + number * 1_000_000
        state.feed((trade(n, moment, number, identified=False) for n in range(symbols)), moment)
        began = time.thread_time()
        rows, _ = state.checkpoint()
        found.append(time.thread_time() - began)
        assert rows >= symbols
    best = min(found)
    return {"symbols": symbols, "milliseconds": best * 1e3, "us_a_row": best / symbols * 1e6}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale_state")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("symbols", type=int)
    parser.add_argument("--rate", type=int, default=RATE, help="of apply: trades a second")
    chosen = parser.parse_args()
    measures: dict[str, Callable[[int], Mapping[str, object]]] = {
        "open": open_windows,
        "ids": identifiers,
        "closed": closed_windows,
        "apply": partial(applying, rate=chosen.rate),
        "take": taking,
    }
    json.dump(measures[chosen.mode](chosen.symbols), sys.stdout)


if __name__ == "__main__":
    main()
