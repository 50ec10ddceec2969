"""Batches for the archive, and stores in memory that break at a chosen step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.archive.columns import read_parquet
from app.archive.manifest import read_state
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, TradeRecord, encoder
from models.predicting.registry_store import LocalStore, Store

DAY = 86_400_000_000_000
#: 2026-11-20T00:00:00Z, ns.
FRIDAY = 1_795_132_800_000_000_000


class MemoryStore:
    """A store in a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def where(self, path: str) -> str:
        return f"dictionary/{path}"

    def create(self, path: str, content: bytes) -> None:
        if path in self.files:
            raise FileExistsError(path)
        self.files[path] = content

    def size(self, path: str) -> int:
        return len(self.read(path))

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def names(self, path: str) -> tuple[str, ...]:
        above = f"{path}/" if path else ""
        found = (each.removeprefix(above) for each in self.files if each.startswith(above))
        return tuple(sorted({each.split("/")[0] for each in found}))

    def remove(self, path: str) -> None:
        self.files.pop(path, None)


class BreakingStore(MemoryStore):
    """Shares the files of another store; its `step`-th change fails, before or after its effect."""

    def __init__(self, files: dict[str, bytes], step: int, *, after: bool) -> None:
        super().__init__()
        self.files = files
        self.step, self.after = step, after

    def create(self, path: str, content: bytes) -> None:
        self._count(before=True)
        super().create(path, content)
        self._count(before=False)

    def remove(self, path: str) -> None:
        self._count(before=True)
        super().remove(path)
        self._count(before=False)

    def _count(self, *, before: bool) -> None:
        if before:
            self.step -= 1
        if self.step == 0 and before is not self.after:
            raise OSError("the store is gone")


def bar(symbol: str, start: int, *, close: float = 1.5, revision: int = 0) -> bytes:
    return encoder.encode(
        BarRecord(
            symbol=symbol,
            interval="1m",
            start=start,
            open=1.0,
            high=2.0,
            low=0.5,
            close=close,
            volume=10.0,
            vwap=None,
            trades=3,
            revision=revision,
            is_final=True,
            filled=False,
            sources=("sip",),
        )
    )


def trade(symbol: str, time: int, price: float = 1.25) -> bytes:
    return encoder.encode(TradeRecord(symbol, price, 100.0, time, conditions=("odd_lot",)))


def batch(
    partition: int,
    base: int,
    values: Sequence[bytes | None],
    *,
    offsets: Sequence[int] | None = None,
    following: int | None = None,
) -> RecordBatch:
    """Return records at the offsets from `base` on, or at those given."""
    places = np.array(range(base, base + len(values)) if offsets is None else offsets, np.int64)
    end = base + len(values) if following is None else following
    times = FRIDAY + places * 1_000
    return RecordBatch("any", partition, base, end, list(values), places, times)


def held(store: Store, topic: str) -> Counter[tuple[int, int]]:
    """Return how often each (partition, offset) is in the files that manifests name."""
    found: Counter[tuple[int, int]] = Counter()
    for part in read_state(store).parts.values():
        if part.topic == topic:
            table = read_parquet(store.read(part.path))
            assert table.num_rows == part.rows
            places = (table.column(name).to_pylist() for name in ("log_partition", "log_offset"))
            found.update(zip(*places, strict=True))
    return found


def on_disk(store: MemoryStore, folder: Path) -> LocalStore:
    """Return a copy of a store as a folder, where DuckDB can read it."""
    for path, content in store.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return LocalStore(folder)
