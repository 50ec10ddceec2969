"""Small logs of one partition, and ways to run them through the state machine."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.wire import encoder
from tables.bars import BarsPartition
from tables.configuration import BarsConfiguration
from tables.partition import WindowedPartition
from tables.partitioning import partition_of
from tables.policies import policy_of
from tables.snapshot import LOADED_PREFIXES, load, take
from tests.unit.bars_corrections import random_corrections

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
Log = Sequence[tuple[bytes | None, int]]


def configuration(**changes: object) -> BarsConfiguration:
    """Bars of 1 s, 10 s and 1 min with short horizons, one partition."""
    values: dict[str, object] = {
        "intervals": (SECOND, 10 * SECOND, 60 * SECOND),
        "grace": SECOND,
        "correction_horizon": 30 * SECOND,
        "policy": policy_of("all"),
        "partitions": 1,
        "results_hash": "test",
        "max_value_bytes": 4096,
    }
    values.update(changes)
    return BarsConfiguration(**values)  # type: ignore[arg-type]


def trade(symbol: str, price: float, size: float, time: int, **more: object) -> bytes:
    """One trade's value."""
    record: dict[str, object] = {"symbol": symbol, "price": price, "size": size}
    record.update(event_time=time, **more)
    return encoder.encode(record)


def batch(log: Log, begin: int, end: int, first_offset: int = 0) -> RecordBatch:
    """Records `[begin, end)` of a log as a fetch."""
    part = log[begin:end]
    return RecordBatch(
        "ticks",
        0,
        first_offset + begin,
        first_offset + end,
        [value for value, _ in part],
        np.arange(first_offset + begin, first_offset + end, dtype=np.int64),
        np.array([append for _, append in part], dtype=np.int64),
    )


@dataclass
class Run:
    """A partition with a store, as the engine would keep it."""

    configuration: BarsConfiguration
    kind: type[WindowedPartition[Any, Any]] = BarsPartition

    def __post_init__(self) -> None:
        self.store: dict[bytes, bytes] = {}
        names = ("bars", "late", "dead", "activity")
        self.published: dict[str, list[OutputRecord]] = {name: [] for name in names}
        self.state = self._load()
        if self.state.next is None:
            self.state.next = 0

    def _load(self) -> Any:
        rows = [(k, v) for k, v in sorted(self.store.items()) if k[:1] in LOADED_PREFIXES]
        return load(self.kind, self.configuration, 0, "topic", self.store.get, rows)

    def checkpoint(self) -> None:
        """Take, publish and store."""
        taken = take(self.state, "topic")
        for name, records in taken.outputs.items():
            self.published[name].extend(records)
        for key, value in taken.rows:
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value
        self.state.windows.stored()

    def crash(self) -> int:
        """Lose the memory; the position to go on from."""
        self.state = self._load()
        if self.state.next is None:
            self.state.next = 0
        return self.state.next

    def feed(self, log: Log, cuts: Iterable[int]) -> None:
        """Apply the log in batches that end at the cuts."""
        begin = self.state.next or 0
        for cut in [*sorted(set(cuts)), len(log)]:
            if cut > begin:
                self.state.apply(batch(log, begin, cut))
                begin = cut


def run_whole(
    config: BarsConfiguration, log: Log, kind: type[WindowedPartition[Any, Any]] = BarsPartition
) -> Run:
    """The log in one batch and one checkpoint."""
    run = Run(config, kind)
    run.feed(log, [])
    run.checkpoint()
    return run


SYMBOLS = ("AAA", "BBB", "C.C")
CONDITIONS = (
    (), (), (), ("odd_lot",), ("iso",), ("closing_print",), ("suspicious",),
    ("extended_hours", "iso"), ("average_price",), ("opening_print",),
)  # fmt: skip


def random_log(
    seed: int,
    length: int,
    start: int = START,
    historical: bool = False,
    corrections: float = 0.0,
) -> Log:
    """Trades with disorder, late ones, duplicates, bad values and control records.

    Args:
        seed: names the log.
        length: records.
        start: where its event time begins, in ns.
        historical: append times are of years later.
        corrections: share of records, from 0 to 1, that are the begin of a row of corrections
            (tests/unit/bars_corrections.py). Without any, a seed gives the log that it always gave.
    """
    rng = random.Random(seed)
    log: list[tuple[bytes | None, int]] = []
    now = start
    spread = rng.choice((0, 2, 40, 200)) * SECOND
    pace = rng.choice((0.05, 0.5, 3.0))
    reported: list[dict[str, Any]] = []
    pending: list[bytes] = []
    for index in range(length):
        now += int(rng.expovariate(1 / pace) * SECOND)
        append = now // 1_000_000 * 1_000_000
        if historical:
            append = 1_790_000_000 * SECOND
        if corrections and not pending and reported and rng.random() < corrections:
            pending = random_corrections(rng, reported, now)
            # Seldom the next trade comes long after, so that others are beyond the horizons.
            now += rng.choice((0,) * 9 + (40, 300)) * SECOND
        if pending:
            log.append((pending.pop(0), append))
            continue
        dice = rng.random()
        if dice < 0.03:
            bad = rng.choice(
                (b"", b"{", None, b'{"symbol":"AAA"}', b"[1]", b'{"symbol":"AAA","price":1}{}',
                 trade("AAA", 1, -1, now), trade("AAA", 1, 1, 5), trade("?", 1, 1, now),
                 trade("AAA", 1, 1, now, conditions=["nope"]), trade("AAA", 1e12, 1e12, now),
                 trade("AAA", 1, 1, append + 3600 * SECOND), b"x" * 5000)
            )  # fmt: skip
            log.append((bad, append))
        elif dice < 0.04:
            log.append((b'{"type":"flush"}', append))
        elif dice < 0.06:
            log.append((b'{"type":"clock","event_time":%d}' % (now + SECOND), append))
        elif dice < 0.065:
            log.append((b'{"type":"historical"}', append))
        elif dice < 0.1 and log:
            log.append((rng.choice(log)[0], append))
        else:
            time = now - int(rng.random() ** 3 * spread)
            more: dict[str, object] = {"conditions": rng.choice(CONDITIONS)}
            if rng.random() < 0.5:
                more["trade_id"] = str(rng.randrange(index + 1))
            if rng.random() < 0.5:
                more["sequence"] = rng.randrange(5)
            if rng.random() < 0.5:
                more["source"] = rng.choice(("one", "two"))
            if rng.random() < 0.3:
                more["venue"] = rng.choice("PQ")
            size = rng.choice((0.0, 100.0, 0.1, 1e-9, 123456.789))
            price = rng.choice((rng.uniform(-2, 5), 167.41, 0.0, -0.0, 1e6 / 3))
            symbol = rng.choice(SYMBOLS)
            log.append((trade(symbol, price, size, time, **more), append))
            reported.append(
                {"symbol": symbol, "price": price, "size": size, "event_time": time, **more}
            )
    return log


def in_partition(symbol: str, partitions: int, partition: int) -> bool:
    """Whether a symbol belongs to a partition."""
    return partition_of(symbol.encode(), partitions) == partition
