"""What each stage of a worker costs: clocks around the functions of the stages.

Processor time of the thread that a function runs in, without that of other stages that it calls.
Coroutines are timed step by step, so that what other tasks do meanwhile is not theirs. A call
costs about a microsecond more: once a batch or a checkpoint, never once a record.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """A function or method, by its module and name there, and the stage that it belongs to."""

    stage: str
    module: str
    name: str


#: The stage whose thread is the consumer's.
UNPACK = "fetch: values out of batches"
#: What is left of that thread, and of the process.
SOCKETS = "fetch: sockets, protocol"
REST = "besides: event loop, Faust, metrics, RocksDB's own threads"
PLACES = (
    Place(UNPACK, "app.streaming.slim", "_slim"),
    Place("fetch: joined to events", "app.streaming.merging", "_join"),
    Place("decode: JSON to columns", "tables.parsing", "Parser.parse"),
    Place("decode: judge, intern", "tables.intake", "Intake.read"),
    Place("ids: known trades", "tables.identifiers", "Identifiers.take"),
    Place("group and merge", "tables.bars", "BarsPartition._aggregate"),
    Place("close: windows to bars", "tables.partition", "WindowedPartition._closes"),
    Place("close: windows to bars", "tables.bars", "BarsPartition._run"),
    Place("apply besides", "app.streaming.runner", "PartitionRunner.accept"),
    Place("forming bars", "app.streaming.side", "SideChannel._send_forming"),
    Place("checkpoint: freeze rows", "agents.windowed", "WindowedState.take"),
    Place("checkpoint: RocksDB", "app.streaming.store", "PartitionStore.write"),
    Place("checkpoint besides", "app.streaming.runner", "PartitionRunner.checkpoint"),
    Place("publish: batches", "app.streaming.transaction", "TransactionalProducer.publish"),
    Place("publish: sender", "aiokafka.producer.sender", "Sender._sender_routine"),
    Place("publish: sender", "aiokafka.producer.sender", "Sender._send_produce_req"),
    Place("publish: sender", "aiokafka.producer.sender", "Sender._do_add_partitions_to_txn"),
    Place("publish: sender", "aiokafka.producer.sender", "Sender._do_txn_offset_commit"),
    Place("publish: sender", "aiokafka.producer.sender", "Sender._do_txn_commit"),
)
#: In which they are told.
ORDER = (UNPACK, SOCKETS, *dict.fromkeys(place.stage for place in PLACES))
#: When it is called, a checkpoint is whole.
STORED = Place("checkpoint: freeze rows", "agents.windowed", "WindowedState.stored")


class Stages:
    """Seconds of each stage since `begin`, as of the last `note`."""

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._local = threading.local()
        self._consumer: int | None = None
        self._began = (0.0, 0.0)
        self._noted: dict[str, float] = {}

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or coroutine function, with a clock around it."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def stepped(*given: Any, **named: Any) -> Any:
                return await _Steps(self, stage, function(*given, **named))

            return stepped

        @functools.wraps(function)
        def called(*given: Any, **named: Any) -> Any:
            return self.run(stage, functools.partial(function, *given, **named))

        return called

    def run(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do some work of a stage, and count its time."""
        outer = getattr(self._local, "inner", 0.0)
        self._local.inner = 0.0
        began = self._clock()
        try:
            return work()
        finally:
            spent = self._clock() - began
            if stage == UNPACK and threading.current_thread() is not threading.main_thread():
                self._consumer = threading.get_ident()
            with self._lock:
                own = spent - self._local.inner
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
            self._local.inner = outer + spent

    def begin(self) -> None:
        """Count from now on."""
        with self._lock:
            self.seconds.clear()
        self._began = self._totals()

    def note(self) -> None:
        """Remember what was counted so far; what comes after the last checkpoint is not work."""
        with self._lock:
            noted = dict(self.seconds)
        fetching, process = (
            now - before for now, before in zip(self._totals(), self._began, strict=True)
        )
        noted[SOCKETS] = fetching - noted.get(UNPACK, 0.0)
        noted[REST] = process - sum(noted.values())
        self._noted = {stage: noted[stage] for stage in ORDER if stage in noted} | noted

    def _totals(self) -> tuple[float, float]:
        """Processor seconds of the consumer's thread, and of the process."""
        fetching = 0.0
        if self._consumer is not None:
            fetching = time.clock_gettime(time.pthread_getcpuclockid(self._consumer))
        return fetching, time.process_time()

    def write(self, path: Path) -> None:
        """Write what was noted as JSON, stage to seconds."""
        path.write_text(json.dumps(self._noted), encoding="utf-8")


class _Steps:
    """A coroutine whose steps are timed."""

    def __init__(self, stages: Stages, stage: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._stages = stages
        self._stage = stage
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = functools.partial(self._coroutine.send, None)
        while True:
            try:
                awaited = self._stages.run(self._stage, step)
            except StopIteration as ended:
                return ended.value
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - the coroutine decides what becomes of it
                step = functools.partial(self._coroutine.throw, error)
            else:
                step = functools.partial(self._coroutine.send, sent)


def owner_of(place: Place) -> tuple[Any, str]:
    """The module or class that holds a place, and its name there.

    Raises:
        AttributeError: there is no such function any more.
    """
    owner: Any = importlib.import_module(place.module)
    *path, name = place.name.split(".")
    for part in path:
        owner = getattr(owner, part)
    if not callable(getattr(owner, name)):
        raise AttributeError(f"{place.module}:{place.name} is not a function")
    return owner, name


def install(stages: Stages, places: Sequence[Place] = PLACES) -> None:
    """Put clocks around all places."""
    for place in places:
        owner, name = owner_of(place)
        setattr(owner, name, stages.timed(place.stage, getattr(owner, name)))
    owner, name = owner_of(STORED)
    stored = stages.timed(STORED.stage, getattr(owner, name))

    def noted(*given: Any) -> None:
        stored(*given)
        stages.note()

    setattr(owner, name, noted)
