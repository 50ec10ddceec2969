"""How far a sink is behind the ends of its topics, looked at now and then."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.sinks.reading import Reader, lags

logger = logging.getLogger(__name__)

#: Seconds between two looks at the lag, and between two that have to ask the broker.
LAG_SECONDS, ASK_SECONDS = 1.0, 5.0
#: Seconds for the broker to answer such a question.
ANSWER_SECONDS: Final = 2.0


class LagMeter:
    """Looks at the lag of one sink.

    Args:
        sink: for the log.
        topics: the broker's names, and the short ones.
        monotonic: a clock in seconds.
    """

    def __init__(
        self, sink: str, topics: Mapping[str, str], monotonic: Callable[[], float]
    ) -> None:
        self._sink, self._topics, self._monotonic = sink, topics, monotonic
        self._measured = float("-inf")

    async def look(
        self,
        reader: Reader,
        positions: Callable[[], Mapping[TopicPartition, int | None]],
        *,
        reads: bool,
    ) -> dict[str, int] | None:
        """Return the lag in offsets by short name; None where it is not due, or not known.

        Args:
            positions: up to where each partition is durable; None where only the group knows it.
            reads: whether the partitions are read: what is not read tells nothing of its end, so
                the broker is asked.
        """
        now = self._monotonic()
        if now < self._measured + (LAG_SECONDS if reads else ASK_SECONDS):
            return None
        self._measured = now
        found: dict[TopicPartition, int] = {}
        if reads:
            for tp, position in positions().items():
                end = reader.last_stable_offset(tp)
                if position is not None and end is not None:
                    found[tp] = max(0, end - position)
        else:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    found = await lags(reader, positions())
            except (TimeoutError, KafkaError) as error:
                logger.debug("sink %s: the lag is not known: %r", self._sink, error)
                return None
        lag = Counter(dict.fromkeys(self._topics.values(), 0))
        for tp, behind in found.items():
            lag[self._topics[tp.topic]] += behind
        return dict(lag)
