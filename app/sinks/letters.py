"""Dead letters: records that an outside system will never take, kept as they were.

They go to `DEPLOYMENT.sinks.dead`, in the partition that they came from, before their offsets are
let go; a crash between the two writes them again. Headers: `reason`, `sink`, `topic`, `partition`,
`offset`. A value that does not fit into the topic stays in its source alone; `value_bytes` then
says how long it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from app.contracts.outputs import LEFT_OUT
from app.settings import Settings
from app.sinks.driver import Culprit
from app.streaming.beside import LetterProducer
from app.topics import DEAD_HEADROOM, SINKS_DEAD, output_topic


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
        self._topic = output_topic(settings, SINKS_DEAD)
        self._producer = LetterProducer(
            settings,
            client_id="candlewick-sinks",
            max_request_size=settings.topics.max_message_bytes + DEAD_HEADROOM,
        )

    async def __call__(self, letters: Sequence[Letter]) -> None:
        """Write letters.

        Raises:
            aiokafka.errors.KafkaError: not all of them are in the topic.
        """
        producer = await self._producer.open()
        sent = [(letter, await self._send(producer, letter)) for letter in letters]
        for letter, future in sent:
            try:
                await future
            except MessageSizeTooLargeError:
                await (await self._send(producer, letter, whole=False))

    async def close(self) -> None:
        """Close the producer."""
        await self._producer.close()

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
