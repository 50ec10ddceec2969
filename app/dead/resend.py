"""Dead letters once more to the topic they came from, as they are or mended.

A letter goes to the partition of its symbol where that can be read, else to the one it came from.
The dead topic is a log: nothing is deleted from it, and sending a letter twice sends its record
twice. Only letters that were there at the beginning are sent: one that is refused again becomes a
new letter, which must not be sent again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.contracts.forms import RecordDecoder
from app.dead.letters import DeadLetter
from app.feeds.partitioning import partition_of
from app.feeds.producer import TickSender
from app.run.errors import RunError
from app.run.reader import partitions_of
from app.settings import Settings
from app.topics import source_topic


class _Named(msgspec.Struct):
    """What must be readable of a record to know its partition: of these, the first that it has."""

    pair: str | None = None
    account: str | None = None
    symbol: str | None = None
    key: str | None = None


_decoder = RecordDecoder[_Named](_Named)


@dataclass
class Resent:
    """What was sent, or would be in a dry run.

    Attributes:
        topic: the source topic.
        records: how many.
        by_reason, by_partition: the same by the letters' reason, and by the partition sent to.
        moved: how many go to another partition than the one they came from.
        left_out: letters passed over, since their value is in the source alone.
    """

    topic: str
    records: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    by_partition: Counter[int] = field(default_factory=Counter)
    moved: int = 0
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "topic": self.topic,
            "records": self.records,
            "moved": self.moved,
            "left_out": self.left_out,
            "by_reason": dict(self.by_reason),
            "by_partition": dict(sorted(self.by_partition.items())),
        }


def name_of(value: bytes | None) -> str | None:
    """Return what a record is partitioned by: its pair, its account, its symbol or its key.

    Also of one that breaks the contract; None where it cannot be read.
    """
    try:
        found = _decoder.decode(value) if value else _Named()
        return found.pair or found.account or found.symbol or found.key
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def target_of(letter: DeadLetter, value: bytes | None, partitions: int) -> tuple[int, bytes | None]:
    """Return the partition and the key that a letter's record goes with.

    Raises:
        RunError: the symbol cannot be read, and the letter does not tell a partition that exists.
    """
    name = name_of(value)
    if name is not None:
        return partition_of(name, partitions), name.encode()
    if letter.source_partition is None or letter.source_partition >= partitions:
        raise RunError(
            f"the letter at partition {letter.partition}, offset {letter.offset} has no readable "
            f"symbol, and came from partition {letter.source_partition} of {partitions}: nobody "
            "can tell where it belongs"
        )
    return letter.source_partition, None


async def resend(
    settings: Settings,
    agent: str,
    letters: AsyncIterator[DeadLetter],
    *,
    edited: bytes | None = None,
    dry_run: bool = False,
    each: Callable[[DeadLetter, int], None] = lambda letter, partition: None,
) -> Resent:
    """Send the records of letters to the agent's source topic; idempotent, acknowledged by all.

    Args:
        settings: of the deployment.
        agent: whose letters they are.
        letters: in the order they are to be sent in.
        edited: bytes to send in place of the letter's own; for exactly one letter.
        dry_run: send nothing.
        each: told of each letter and the partition it goes to.

    Raises:
        BrokerUnreachableError: no broker answers.
        RunError: the source topic does not exist, or a letter belongs nowhere.
        KafkaError: the broker refused a record; those before it may be in the topic.
    """
    topic = source_topic(settings, agent)
    partitions = len(await partitions_of(settings, [topic]))
    done = Resent(topic)
    async with AsyncExitStack() as stack:
        sender = None
        if not dry_run:
            sender = await stack.enter_async_context(TickSender(settings, topic=topic))
        async for letter in letters:
            if letter.left_out is not None and edited is None:
                done.left_out += 1
                continue
            value = letter.value if edited is None else edited
            partition, key = target_of(letter, value, partitions)
            if sender is not None:
                await sender.send(partition, [(key, value)])
            each(letter, partition)
            done.records += 1
            done.by_reason[letter.reason] += 1
            done.by_partition[partition] += 1
            done.moved += partition != letter.source_partition
        if sender is not None:
            await sender.flush()
    return done
