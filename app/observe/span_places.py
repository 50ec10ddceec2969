"""What spans say of places and moments, and their bounds."""

from __future__ import annotations

import time

#: Links of a span; batches of a checkpoint beyond are counted alone.
LINKS = 128
SECOND = 1_000_000_000

Attributes = dict[str, str | int | float | bool]


def place_attributes(
    operation: str, topic: str, partition: int, first: int, following: int
) -> Attributes:
    """Return what a span says of a stretch of a partition, by OpenTelemetry's names for messaging.

    The stretch is `[first, following)`; the second name is ours, they have none.
    """
    named: Attributes = {"messaging.operation.type": operation} if operation else {}
    return {
        **named,
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": first,
        "candlewick.offset.next": following,
    }


def moment_of(began: float) -> tuple[int, int]:
    """The moment of a `time.perf_counter()`, and now, in ns since the epoch."""
    now = time.time_ns()
    return now - int((time.perf_counter() - began) * SECOND), now
