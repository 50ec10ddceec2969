"""The faults of the sinks' stores. Entering one does the harm, leaving it ends the harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from tests.chaos.fleet import SmallDisk
from tests.chaos.sinks_culprits import POSTGRES_DRAWN, POSTGRES_NAMES, Culprits
from tests.chaos.sinks_gate import Gate
from tests.influx_server import InfluxServer
from tests.postgres_server import PostgresServer

SECOND = 1_000_000_000
#: Before culprits begin, so that nothing with such a time was written before.
LEAD_SECONDS = 2.0
CUT_SECONDS = 0.5
#: Seconds that InfluxDB asks for.
RETRY_AFTER = {503: 4, 429: 3}


@dataclass
class Scene:
    """The stores that a run has; what it has not is None, and no fault of it is chosen.

    Attributes:
        culprits: of PostgreSQL; InfluxDB's are the gate's.
    """

    gate: Gate | None
    influx: InfluxServer | None
    postgres: PostgresServer | None
    disk: SmallDisk | None
    culprits: Culprits

    @property
    def the_gate(self) -> Gate:
        """The proxy before InfluxDB."""
        assert self.gate is not None
        return self.gate

    @property
    def the_influx(self) -> InfluxServer:
        """InfluxDB."""
        assert self.influx is not None
        return self.influx

    @property
    def the_postgres(self) -> PostgresServer:
        """PostgreSQL."""
        assert self.postgres is not None
        return self.postgres

    @property
    def the_disk(self) -> SmallDisk:
        """The archive's disk."""
        assert self.disk is not None
        return self.disk


Harm = Callable[[Scene, float], AsyncIterator[None]]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: its sink, and what happens.
        seconds: that it lasts, in a run that is not shortened.
        said: a pattern; what the worker's log says when the sink has met it.
        harm: does it for so many seconds, or until it is left.
    """

    name: str
    seconds: float
    said: str
    harm: Callable[[Scene, float], AbstractAsyncContextManager[None]]

    @property
    def sink(self) -> str:
        """Whose store it is."""
        return self.name.partition("-")[0]

    @property
    def meaning(self) -> str:
        """One line."""
        return (self.harm.__doc__ or "").strip()


FAULTS: dict[str, Fault] = {}


def _fault(seconds: float, said: str) -> Callable[[Harm], Harm]:
    """Register a fault by its function's name: `influx_503` is `influx-503`."""

    def register(function: Harm) -> Harm:
        name = function.__name__.replace("_", "-")
        FAULTS[name] = Fault(name, seconds, said, asynccontextmanager(function))
        return function

    return register


# --- InfluxDB ---------------------------------------------------------------------------------

AWAY = r"sink influx: InfluxDB at"


@_fault(60.0, AWAY)
async def influx_stopped(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """InfluxDB is stopped in order, and started again."""
    await asyncio.to_thread(scene.the_influx.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.the_influx.start)


@_fault(20.0, AWAY)
async def influx_killed(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """InfluxDB is killed by SIGKILL, and started again on the same data."""
    await asyncio.to_thread(scene.the_influx.kill9)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.the_influx.start)


@_fault(25.0, r"sink influx: InfluxDB at \S+ no answer within")
async def influx_hangs(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """InfluxDB takes requests and does not answer (SIGSTOP); then it goes on with all of them."""
    scene.the_influx.pause()
    try:
        yield
    finally:
        scene.the_influx.resume()


@_fault(20.0, r"sink influx: InfluxDB at \S+ HTTP 503")
async def influx_503(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """Every answer is 503 with Retry-After."""
    scene.the_gate.answer(503, RETRY_AFTER[503])
    try:
        yield
    finally:
        scene.the_gate.let_pass()


@_fault(20.0, r"sink influx: InfluxDB at \S+ HTTP 429")
async def influx_429(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """Every answer is 429 with Retry-After."""
    scene.the_gate.answer(429, RETRY_AFTER[429])
    try:
        yield
    finally:
        scene.the_gate.let_pass()


@_fault(20.0, AWAY)
async def influx_cut(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """Connections are cut before a request is passed on, and before its answer is."""
    scene.the_gate.cut()
    try:
        yield
    finally:
        scene.the_gate.let_pass()


@_fault(20.0, r"sink influx: \d+ records will never be taken")
async def influx_refuses(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """About 1 % of the lines are ones that InfluxDB refuses, for ever."""
    scene.the_gate.culprits.stretches.append(_stretch(seconds))
    yield


def _stretch(seconds: float) -> tuple[int, int]:
    begin = time.time_ns() + int(LEAD_SECONDS * SECOND)
    return begin, begin + int(seconds * SECOND)


# --- PostgreSQL -------------------------------------------------------------------------------

LOST = r"sink postgres: PostgreSQL at"


@_fault(60.0, LOST)
async def postgres_stopped(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """PostgreSQL is stopped in order, and started again."""
    await asyncio.to_thread(scene.the_postgres.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.the_postgres.start)


@_fault(20.0, LOST)
async def postgres_killed(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """PostgreSQL is killed by SIGKILL, and started again on the same data."""
    await asyncio.to_thread(scene.the_postgres.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.the_postgres.start)


@_fault(25.0, LOST)
async def postgres_hangs(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """All processes of PostgreSQL stand still (SIGSTOP), in the middle of transactions."""
    await asyncio.to_thread(scene.the_postgres.freeze)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.the_postgres.thaw)


@_fault(20.0, LOST)
async def postgres_cut(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """PostgreSQL ends the sink's connection again and again."""
    ending = asyncio.create_task(_end_connections(scene.the_postgres))
    try:
        yield
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


async def _end_connections(server: PostgresServer) -> None:
    while True:
        await asyncio.to_thread(
            server.sql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'candlewick'",
        )
        await asyncio.sleep(CUT_SECONDS)


@_fault(20.0, r"sink postgres: \d+ records will never be taken")
async def postgres_refuses(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """About 1 % of the rows break a constraint, for ever."""
    begin, end = _stretch(seconds)
    statements = []
    for table, (name, moment) in POSTGRES_NAMES.items():
        drawn = POSTGRES_DRAWN.format(name=name)
        refused = f"{moment} >= {begin} AND {moment} < {end} AND {drawn}"
        statements.append(
            f"ALTER TABLE candlewick.{table} ADD CONSTRAINT chaos_{begin} CHECK (NOT ({refused}))"
        )
    await asyncio.to_thread(scene.the_postgres.sql, *statements)
    scene.culprits.stretches.append((begin, end))
    yield


# --- the archive ------------------------------------------------------------------------------


@_fault(40.0, r"sink archive: \S+ no space left")
async def archive_full(scene: Scene, seconds: float) -> AsyncIterator[None]:
    """The disk under the archive is full, until there is room again."""
    await asyncio.to_thread(scene.the_disk.fill)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.the_disk.free)
