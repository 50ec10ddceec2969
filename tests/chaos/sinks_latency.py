"""When records could be read, and how long after the record that was their cause."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from tests.chaos.watch import _PASSING

POLL_SECONDS = 0.1
SECOND = 1e9


class Arrivals:
    """Notes the moment at which a `read_committed` reader has each record, in a thread of its own.

    Attributes:
        moments: by topic and partition, of each offset, in ns since the epoch.
    """

    def __init__(self, broker: str, topics: Iterable[str], partitions: int) -> None:
        self.moments: dict[tuple[str, int], dict[int, int]] = {
            (topic, number): {} for topic in topics for number in range(partitions)
        }
        self.fault: BaseException | None = None
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker.removeprefix("kafka://"),
                "group.id": "chaos-arrivals",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "log_level": 0,
            }
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Read no more.

        Raises:
            KafkaException: it has ended before.
        """
        self._ending.set()
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    def everywhere(self) -> bool:
        """Whether something has come from every partition of every topic."""
        return all(self.moments.values())

    def _run(self) -> None:
        try:
            self._consumer.assign(
                [TopicPartition(*place, OFFSET_BEGINNING) for place in self.moments]
            )
            while not self._ending.is_set():
                # One by one: more of them would be waited for.
                message = self._consumer.poll(POLL_SECONDS)
                if message is None:
                    continue
                fault = message.error()
                if fault is not None:
                    if fault.code() not in _PASSING:
                        raise KafkaException(fault)
                    continue
                topic, partition, offset = message.topic(), message.partition(), message.offset()
                assert topic is not None
                assert partition is not None
                assert offset is not None
                self.moments[topic, partition][offset] = time.time_ns()
        except KafkaException as error:
            self.fault = error
        finally:
            self._consumer.close()


@dataclass(frozen=True)
class Delay:
    """Of one record: when (s, epoch) its cause was appended, and the seconds until it was read."""

    cause: float
    seconds: float


@dataclass(frozen=True)
class Stretch:
    """A time of the run that is judged; begin and end in seconds since the epoch."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Latency:
    """Of a stretch; seconds, None where no record was caused in it."""

    stretch: str
    records: int
    p50: float | None
    p95: float | None
    worst: float | None

    def __str__(self) -> str:
        if self.p50 is None or self.p95 is None or self.worst is None:
            return f"{self.stretch:28} none"
        return (
            f"{self.stretch:28} {self.records:7,}  P50 {self.p50 * 1e3:7.0f} ms  "
            f"P95 {self.p95 * 1e3:7.0f} ms  max {self.worst * 1e3:7.0f} ms"
        )


def latency_of(stretch: Stretch, delays: Sequence[Delay]) -> Latency:
    """Quantiles of the records whose cause lies in a stretch."""
    found = [each.seconds for each in delays if stretch.begin <= each.cause < stretch.end]
    if not found:
        return Latency(stretch.name, 0, None, None, None)
    middle, high = (float(each) for each in np.quantile(found, (0.5, 0.95)))
    return Latency(stretch.name, len(found), middle, high, max(found))
