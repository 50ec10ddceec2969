"""What a run stands on, each as `async with`: the broker, the workers. Left as it was found."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from app.broker import BrokerConfig, EmbeddedBroker
from app.run.supervisor import Supervisor
from app.settings import Settings

Result = TypeVar("Result")
Say = Callable[[str], None]


def broker_folder(settings: Settings) -> Path:
    """Return the folder of the embedded broker."""
    return settings.broker.folder or settings.data_dir / "broker"


def embedded_broker(settings: Settings) -> EmbeddedBroker:
    """Return the embedded broker of these settings, running or not."""
    return EmbeddedBroker(
        BrokerConfig(
            folder=broker_folder(settings),
            port=settings.broker.port,
            partitions=settings.topics.partitions,
        )
    )


def with_broker(settings: Settings, url: str) -> Settings:
    """Return the settings with a broker's address."""
    return settings.model_copy(update={"broker": settings.broker.model_copy(update={"url": url})})


@asynccontextmanager
async def running_broker(settings: Settings, say: Say) -> AsyncIterator[Settings]:
    """Yield settings whose broker runs: the configured one, or the embedded one.

    The embedded one is stopped afterwards only if it was started here.

    Raises:
        BrokerError: it cannot be started.
    """
    if settings.broker.url is not None:
        yield settings
        return
    broker = embedded_broker(settings)
    status = await asyncio.to_thread(broker.status)
    if status.running and status.url is not None:
        await in_thread(broker.wait_ready)
        say(f"broker: the one that runs in {status.folder}, {status.url}")
        yield with_broker(settings, status.url)
        return
    try:
        await in_thread(broker.start)
        await in_thread(broker.wait_ready)
        say(f"broker started: {broker.url}")
        yield with_broker(settings, broker.url)
    finally:
        await in_thread(broker.stop)


@asynccontextmanager
async def running_workers(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    """Start the workers, yield the task that watches them, and stop them at the end."""
    watch: asyncio.Task[None] | None = None
    try:
        await supervisor.start()
        watch = asyncio.create_task(supervisor.watch(), name="workers")
        yield watch
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        await supervisor.stop()


async def first_of(work: asyncio.Task[Result], *watched: asyncio.Task[Any]) -> Result:
    """Return what `work` returns, unless a watched task ends before: then raise its error."""
    tasks: list[asyncio.Task[Any]] = [work, *watched]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in watched:
            if task.done():
                _raise(task)
        return await work
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait([work])


def _raise(task: asyncio.Task[Any]) -> None:
    """Raise a task's error, or the first one of its group."""
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error


async def in_thread(function: Callable[[], Result]) -> Result:
    """Run a blocking function to its end, also when cancelled meanwhile: it may start a process."""
    future = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def cancel_on_signals(say: Say) -> Callable[[], bool]:
    """Let SIGINT, SIGTERM and SIGHUP cancel the current task, once: cleaning up is not disturbed.

    Returns:
        Whether a signal has come.
    """
    task = asyncio.current_task()
    came = False

    def handle() -> None:
        nonlocal came
        if came:
            say("already stopping")
            return
        came = True
        say("stopping")
        if task is not None:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, handle)
    return lambda: came
