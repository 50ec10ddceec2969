"""Process-wide: settings that the hot path needs, measured, and two manners of aiokafka's."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import sys
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import KafkaError

logger = logging.getLogger(__name__)

#: Seconds after which a task that has swallowed its cancellation is cancelled again.
_AGAIN_SECONDS = 0.1
#: glibc's malloc.h.
_ARENA_MAX = -8
#: Of a soak at 2,000 events/s with a horizon of a minute: what malloc held free after 10 minutes
#: was 60 MB without, and 20 MB with two. Thresholds for mapping (1 MiB) and trimming (16 MiB) on
#: top gave 6 MB, but cost a fifth of a backlog's speed (469,000 against 569,000 records a second).
ARENAS = 2
_close_fetcher = Fetcher.close


def tune_process() -> None:
    """Have the cyclic collector and thread switching get out of the way; call it after start.

    A fetch makes tens of thousands of long-lived containers, which the default thresholds
    (700, 10, 10) walk again and again: 1.5x. Waiting 5 ms for the GIL delays the
    consumer's thread: 1.3x. The young are walked in portions of 25,000: of 200,000 it took up to
    70 ms at once, during which no thread runs, and no less time in all; the older ones are walked
    as seldom as with 200,000 and 50.
    """
    tune_memory()
    gc.set_threshold(25_000, 400, 100)
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)


def tune_memory() -> bool:
    """Have glibc use freed memory again; call it before the stores are opened.

    RocksDB's write buffers are blocks of 1 MiB, made in one thread and freed in another; glibc puts
    them into one of 8 arenas a core, where what is freed stays. What was free and kept grew from 28
    to 60 MB in 8 minutes (`mallinfo2`) while what was in use did not grow.

    Returns:
        False, with nothing changed, where there is no glibc or the environment has its own wishes.
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_")]
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        logger.debug("the allocator is set by the environment")
        return False
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError) as error:
        logger.debug("not glibc's allocator: %r", error)
        return False
    return bool(change(_ARENA_MAX, ARENAS))


def release_memory() -> bool:
    """Give back to the system what glibc holds free; for a thread, it walks all of it.

    Columns of a batch and rows of a checkpoint are of all sizes, and what is free between them is
    kept: 120 of 840 MB after half an hour at 26,000 events/s, and growing.

    Returns:
        False where there is no glibc.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError) as error:
        logger.debug("not glibc's allocator: %r", error)
        return False
    trim(0)
    return True


def quiet_lost_futures(loop: asyncio.AbstractEventLoop) -> None:
    """Keep aiokafka's forgotten futures and connections out of the log.

    Of a fenced or failed transaction it leaves futures that nobody can await (aiokafka 0.14,
    `_transaction_waiter` and `_drain_waiter`), and asyncio prints a traceback for each. The failure
    itself has been raised and logged. Needed: the fencing tests in
    `tests/broker/test_engine_checkpoint.py`. To delete when aiokafka retrieves them itself.

    A client that is closed while it connects to one more node forgets that connection, which closes
    itself when it is collected, and tells the loop (aio-libs/aiokafka#715, open). Seen once in many
    runs of `tests/unit/test_containers.py`, where a worker ends within a second of its start.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, KafkaError) and "never retrieved" in str(context.get("message")):
            logger.debug("a future of aiokafka ended unheard: %r", error)
            return
        if context.get("message") == "Unclosed AIOKafkaConnection":
            logger.debug("closed only now: %r", context.get("conn"))
            return
        loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


def close_fetchers_whole() -> None:
    """Let consumers be closed while no broker answers; may be called again.

    aiokafka cancels its fetcher's requests and awaits each (0.14, fetcher.py, `close`). One that
    waits for its next attempt raises the `CancelledError` into whoever closes the consumer: a
    restore then ends as if it had been cancelled, and a worker never, since mode waits for its
    thread. Needed: `tests/broker/test_stop_away.py`. To delete when aiokafka suppresses it.
    """
    Fetcher.close = _close_whole


async def _close_whole(fetcher: Any) -> None:
    pending = {fetcher._fetch_task, *fetcher._pending_tasks}
    ended: set[asyncio.Task[Any]] = set()
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
        ended |= done
    for task in ended - {fetcher._fetch_task}:
        if not task.cancelled() and task.exception() is not None:
            logger.debug("a fetch ended unheard: %r", task.exception())
    fetcher._pending_tasks.clear()
    await _close_fetcher(fetcher)
