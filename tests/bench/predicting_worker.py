"""Child: the application, `faust -A tests.bench.predicting_worker worker`, which notes its fetches.

A line of JSON for each fetch of the predictions agent, in the folder that an environment name says:
when it was handed over (seconds since the epoch), how many records it had, for how many seconds it
waited for the agent, and how many the agent then took until its outputs were pending, by the wall
and by the processor's clock of its thread, other work between its pieces included.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from app.application import app, settings
from app.contracts.batch import RecordBatch
from app.streaming.engine import Engine
from app.streaming.transport import Consumer
from tests.bench.pauses import TRACE_FOLDER

__all__ = ["app"]

AGENT = "predictions"
_file = (Path(os.environ[TRACE_FOLDER]) / f"{settings.worker}.jsonl").open(
    "a", buffering=1, encoding="utf-8"
)
_to_message, _handle = Consumer._to_message, Engine.handle
#: When each fetch came out of the consumer, by where it ends; taken out when it is handled.
_fetched: dict[tuple[str, int, int], float] = {}


def to_message(self: Consumer, tp: Any, record: Any) -> Any:
    """Note the moment at which a fetch is on its way to its agents."""
    if isinstance(record, RecordBatch):
        _fetched[record.topic, record.partition, record.next] = time.perf_counter()
    return _to_message(self, tp, record)


async def handle(self: Engine, batch: RecordBatch, agent: str) -> None:
    """Note how long it has waited, and how long it takes."""
    fetched = _fetched.pop((batch.topic, batch.partition, batch.next), None)
    at, began, used = time.time(), time.perf_counter(), time.thread_time()
    await _handle(self, batch, agent)
    if agent == AGENT and fetched is not None and len(batch):
        ended = time.perf_counter()
        line = {
            "at": at,
            "records": len(batch),
            "waited": began - fetched,
            "taken": ended - began,
            "processor": time.thread_time() - used,
        }
        _file.write(json.dumps(line) + "\n")


Consumer._to_message = to_message  # type: ignore[method-assign]
Engine.handle = handle  # type: ignore[method-assign]
