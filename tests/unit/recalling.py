"""Applying a batch as the engine does: where a correction asks for the log, it is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from app.contracts.batch import RecordBatch
from tables.recall import Recall

#: The batches of the log from an offset to before another one; they may reach beyond both.
ReadLog = Callable[[int, int], Iterable[RecordBatch]]


def apply_all(partition: Any, batch: RecordBatch, read: ReadLog) -> int:
    """Take a whole batch; how many stretches of the log were read for it."""
    stretches = 0
    partition.apply(batch)
    while getattr(partition, "question", None) is not None:
        result: Any = Recall.shortest(partition, partition.question)
        while isinstance(result, Recall):
            stretches += 1
            for each in read(result.first, result.end):
                result.take(each.since(result.first))
            result = result.result()
        partition.answer(result)
        partition.apply(batch.since(partition.next))
    return stretches
