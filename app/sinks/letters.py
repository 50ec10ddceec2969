"""Dead letters: records that an outside system will never take, kept as they were.

They go to `DEPLOYMENT.sinks.dead`, in the partition that they came from, before their offsets are
let go; a crash between the two writes them again. Headers: `reason`, `sink`, `topic`, `partition`,
`offset`. A value that does not fit into the topic stays in its source alone; `value_bytes` then
says how long it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from app.connection import client_options
from app.contracts.outputs import LEFT_OUT
from app.settings import Settings
from app.sinks.driver import Culprit
from app.streaming.transaction import abandon
from app.topics import DEAD_HEADROOM, SINKS_DEAD, output_topic

logger = logging.getLogger(__name__)

#: To close the producer; longer only while no broker answers.
CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that a sink never takes; `topic` is the broker's name of the one it lies in."""

    sink: str
    topic: str
    culprit: Culprit


#: Returns when all letters are in their topic.
Bury = Callable[[Sequence[Letter]], Awaitable[None]]


class DeadLetters:
    """Sends letters to their topic; the producer is opened by the first one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = output_topic(settings, SINKS_DEAD)
        self._producer: AIOKafkaProducer | None = None

    async def __call__(self, letters: Sequence[Letter]) -> None:
        """Write letters.

        Raises:
            aiokafka.errors.KafkaError: not all of them are in the topic.
        """
        producer = await self._open()
        sent = [(letter, await self._send(producer, letter)) for letter in letters]
        for letter, future in sent:
            try:
                await future
            except MessageSizeTooLargeError:
                await (await self._send(producer, letter, whole=False))

    async def close(self) -> None:
        """Close the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await producer.stop()
            except (TimeoutError, KafkaError) as error:
                # Each letter was waited for: nothing is left to send.
                logger.debug("closing a producer: %r", error)
                await abandon(producer)

    async def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_options(self._settings),
                client_id="candlewick-sinks",
                acks="all",
                max_request_size=self._settings.topics.max_message_bytes + DEAD_HEADROOM,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _send(self, producer: AIOKafkaProducer, letter: Letter, *, whole: bool = True) -> Any:
        """Begin to send a letter; return the future of its acknowledgement."""
        culprit = letter.culprit
        headers = [
            ("reason", culprit.reason.encode()),
            ("sink", letter.sink.encode()),
            ("topic", letter.topic.encode()),
            ("partition", str(culprit.place.partition).encode()),
            ("offset", str(culprit.offset).encode()),
        ]
        value = culprit.value
        if not whole and value is not None:
            headers.append((LEFT_OUT, str(len(value)).encode()))
            value = None
        try:
            # With a key, as aiokafka sends no record without key and value.
            return await producer.send(
                self._topic,
                key=letter.sink.encode(),
                value=value,
                partition=culprit.place.partition,
                headers=headers,
            )
        except MessageSizeTooLargeError:
            if not whole:
                raise
            return await self._send(producer, letter, whole=False)
