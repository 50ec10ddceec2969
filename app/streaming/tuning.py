"""Process-wide settings that the hot path needs, each measured on this design's prototype."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from typing import Any

from aiokafka.errors import KafkaError

logger = logging.getLogger(__name__)


def tune_process() -> None:
    """Have the cyclic collector and thread switching get out of the way; call it after start.

    A fetch makes tens of thousands of long-lived containers, which the default thresholds
    (700, 10, 10) walk again and again: 1.5x. Waiting 5 ms for the GIL delays the
    consumer's thread: 1.3x.
    """
    gc.set_threshold(200_000, 50, 100)
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)


def quiet_lost_futures(loop: asyncio.AbstractEventLoop) -> None:
    """Keep aiokafka's forgotten futures out of the log.

    Of a fenced or failed transaction it leaves futures that nobody can await (aiokafka 0.14,
    `_transaction_waiter` and `_drain_waiter`), and asyncio prints a traceback for each. The failure
    itself has been raised and logged. Needed: the fencing tests in
    `tests/broker/test_engine_checkpoint.py`. To delete when aiokafka retrieves them itself.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, KafkaError) and "never retrieved" in str(context.get("message")):
            logger.debug("a future of aiokafka ended unheard: %r", error)
            return
        loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
