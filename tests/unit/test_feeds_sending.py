"""What a feed sends in MessagePack: the good records, and nothing else otherwise than in JSON."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner

from app.cli.feeds import replay
from app.cli.simulate import simulate
from app.contracts.forms import Form, is_packed, pack
from app.contracts.wire import quote_decoder, trade_decoder
from app.feeds.columns import TickColumns, Vocabulary
from app.feeds.corrupt import Corrupter, Limits
from app.feeds.files import Kind
from app.feeds.market import Market, MarketOptions
from app.feeds.sending import ColumnsSender

Sent = list[tuple[int, bytes | None, bytes | None]]
PARTITIONS = 3


class Kept:
    """Stands for the producer: keeps what is sent to each partition."""

    partitions = PARTITIONS

    def __init__(self) -> None:
        self.sent: Sent = []

    async def send(
        self, partition: int, records: Iterable[tuple[bytes | None, bytes | None]]
    ) -> None:
        """Take records."""
        self.sent += [(partition, key, value) for key, value in records]


async def sent_as(form: Form, part: TickColumns, vocabulary: Vocabulary, kind: Kind) -> Sent:
    """What goes out of a block of the market, a fifth of bad records in it."""
    kept = Kept()
    corrupter = Corrupter(0.2, Limits(4096, PARTITIONS), 1, kind)
    sender = ColumnsSender(cast(Any, kept), vocabulary, corrupter, form)
    await sender.send(part)
    assert sender.corrupt > 10
    assert len(kept.sent) == sender.records + sender.raw + sender.corrupt
    return kept.sent


@pytest.mark.parametrize("kind", ["trades", "quotes"])
async def test_good_records_are_messagepack_and_the_others_what_they_are(kind: Kind) -> None:
    vocabulary = Vocabulary()
    options = MarketOptions(symbols=20, rate=10_000, quotes_per_trade=1, seed=3)
    trades, quotes = Market(options, 1_700_000_000_000_000_000, vocabulary).block()
    flush = b'{"type":"flush"}'
    whole: TickColumns = trades if kind == "trades" else quotes
    raw = np.full(len(whole), None, dtype=np.object_)
    raw[random.Random(1).sample(range(len(whole)), 5)] = flush
    part = replace(whole, value=raw)
    plain = await sent_as("json", part, vocabulary, kind)
    packed = await sent_as("msgpack", part, vocabulary, kind)
    decoder: Any = trade_decoder if kind == "trades" else quote_decoder
    found: Counter[str] = Counter()
    for (partition, key, value), other in zip(plain, packed, strict=True):
        assert other[:2] == (partition, key)
        if is_packed(other[2]):
            assert other[2] == pack(value or b"")
            assert decoder.decode(other[2]) == decoder.decode(value)
            found["good"] += 1
        else:
            assert other[2] == value
            found["raw" if value == flush else "bad"] += 1
    assert found["raw"] == 5
    assert found["good"] == len(part) - 5


def test_the_form_is_one_of_two() -> None:
    for command, more in ((simulate, []), (replay, ["."])):
        result = CliRunner().invoke(command, ["--format", "xml", *more])
        assert result.exit_code == 2
        assert "'xml' is not one of 'json', 'msgpack'" in result.output
