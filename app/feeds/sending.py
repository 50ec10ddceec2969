"""Columns into a topic: encoded, bad records put in on purpose if asked, partition by partition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from app.contracts.forms import Form, pack
from app.feeds.columns import TickColumns, Vocabulary
from app.feeds.corrupt import Corrupter, Value
from app.feeds.encode import TickEncoder
from app.feeds.files import raw_rows
from app.feeds.producer import TickSender


class ColumnsSender:
    """Sends columns in their order within each partition, and counts.

    Args:
        form: of the good records; bad ones are as `corrupt.py` makes them, and others as they are.

    Attributes:
        records: good ones sent so far.
        raw: those sent as they are (`value` of the columns).
        corrupt: bad ones, put in on purpose.
    """

    def __init__(
        self,
        sender: TickSender,
        vocabulary: Vocabulary,
        corrupter: Corrupter | None = None,
        form: Form = "json",
    ) -> None:
        self.records = 0
        self.raw = 0
        self.corrupt = 0
        self._sender = sender
        self._encoder = TickEncoder(vocabulary, sender.partitions)
        self._corrupter = corrupter
        self._form = form

    async def send(self, part: TickColumns) -> None:
        """Encode and send records.

        Raises:
            KafkaError: the broker is away or has refused a batch.
        """
        good = self._encoder.encode(part)
        symbols = part.symbol
        raw = raw_rows(part)
        self.raw += raw
        self.records += len(part) - raw
        bad = [] if self._corrupter is None else self._corrupter.after(good, part.value)
        if self._form == "msgpack":
            # What lies in the files as it is stays so.
            raw_values = [None] * len(good) if part.value is None else part.value.tolist()
            good = [
                pack(value) if given is None else value
                for value, given in zip(good, raw_values, strict=True)
            ]
        values: list[Value] = list(good)
        if bad:
            values, repeats = _inserted(good, bad)
            self.corrupt += len(values) - len(good)
            symbols = np.repeat(symbols, repeats)
        partitions = self._encoder.partitions[symbols]
        order = np.argsort(partitions, kind="stable")
        edges = np.searchsorted(partitions[order], np.arange(self._sender.partitions + 1))
        keys = self._encoder.keys
        numbers, places = symbols[order].tolist(), order.tolist()
        for partition, (start, end) in enumerate(pairwise(edges.tolist())):
            records = zip(numbers[start:end], places[start:end], strict=True)
            await self._sender.send(
                partition, [(keys[number], values[place]) for number, place in records]
            )


def _inserted(
    good: list[bytes], bad: list[tuple[int, tuple[Value, ...]]]
) -> tuple[list[Value], list[int]]:
    """Good values with bad ones after them, and how many each good one has become."""
    values: list[Value] = []
    repeats = [1] * len(good)
    done = 0
    for place, more in bad:
        values += good[done : place + 1]
        values += more
        repeats[place] += len(more)
        done = place + 1
    values += good[done:]
    return values, repeats
