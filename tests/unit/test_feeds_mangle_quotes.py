"""Disorder and bad records of quotes: as of trades, and bad for the reason the engine gives."""

import numpy as np
import pytest

from app.contracts.batch import RecordBatch
from app.contracts.wire import QuoteRecord, encoder
from app.feeds.columns import QuoteColumns, concatenate
from app.feeds.corrupt import CORRUPTIONS, QUOTE_CORRUPTIONS, Corrupter, Corruption, Limits
from app.feeds.encode import TickEncoder
from app.feeds.mangle import Delays, delayed
from app.feeds.partitioning import partition_of
from app.feeds.source import MemorySource
from tables.configuration import BarsConfiguration
from tables.policies import policy_of
from tables.quotes import QuotesPartition

T0 = 1_381_152_600_000_000_000
SECOND = 1_000_000_000
LIMITS = Limits(value_bytes=8_192, partitions=4)
QUOTE = QuoteRecord("IBM", 180.01, 181.8, T0, 300.0, 100.0, 1, "P", "lean")


def reason_of(value: bytes | None) -> str | None:
    """The engine's own reason for a value sent to IBM's partition of four."""
    state = QuotesPartition(
        BarsConfiguration(
            (SECOND,),
            SECOND,
            900 * SECOND,
            policy_of("all"),
            4,
            "test",
            max_value_bytes=LIMITS.value_bytes,
        ),
        partition_of("IBM", 4),
        lambda key: None,
    )
    append_time = np.array([2_000_000_000_000_000_000], dtype=np.int64)
    state.apply(RecordBatch("quotes", 0, 0, 1, [value], np.zeros(1, dtype=np.int64), append_time))
    dead = state.publisher.outputs["dead"]
    return dict(dead[0].headers)["reason"].decode() if dead else None


@pytest.mark.parametrize("kind", QUOTE_CORRUPTIONS, ids=lambda kind: kind.name)
def test_every_kind_of_bad_quote_is_bad_for_its_reason(kind: Corruption) -> None:
    small = QuoteRecord("IBM", 180.01, 181.8, T0)
    for quote in (QUOTE, small):
        values = kind.make(encoder.encode(quote), LIMITS)
        assert values
        assert [reason_of(value) for value in values] == [kind.reason] * len(values)
        assert reason_of(encoder.encode(quote)) is None


def test_the_kinds_have_names_of_their_own() -> None:
    names = [kind.name for kind in QUOTE_CORRUPTIONS]
    assert len(set(names)) == len(names)
    assert {"missing_bid", "missing_ask", "not_json", "other_partition"} <= set(names)


def test_a_topic_gets_its_own_kinds() -> None:
    values = [encoder.encode(QUOTE)] * 3_000
    inserted = Corrupter(1.0, LIMITS, 3, "quotes").after(values)
    assert len(inserted) == 3_000
    found = {bad for _, bad in inserted}
    assert (b'{"type":"trade"}',) in found
    assert (b'{"type":"quote"}',) not in found
    assert {kind.name for kind in CORRUPTIONS} != {kind.name for kind in QUOTE_CORRUPTIONS}


def test_nothing_is_made_of_what_is_no_trade_and_no_quote() -> None:
    values = [b"not JSON", encoder.encode(QUOTE)] * 500
    raw = np.array([b"not JSON", None] * 500, dtype=object)
    inserted = Corrupter(0.5, LIMITS, 3, "quotes").after(values, raw)
    assert 150 < len(inserted) < 350
    assert all(place % 2 == 1 for place, _ in inserted)
    assert Corrupter(0.5, LIMITS, 3).after([b"x"] * 9, np.array([b"x"] * 9, dtype=object)) == []


def test_quotes_are_delayed_like_trades() -> None:
    quotes = [
        QuoteRecord("IBM", float(place), place + 1.0, T0 + place * SECOND // 10)
        for place in range(400)
    ]
    delays = Delays(disorder=2 * SECOND, seed=4)
    source = MemorySource(quotes, chunk=37)
    assert source.kind == "quotes"
    columns = concatenate(list(delayed(source.chunks(), delays)))
    assert isinstance(columns, QuoteColumns)
    order = columns.sequence.tolist()
    assert order != sorted(order) == list(range(400))
    assert columns.bid.tolist() == columns.sequence.tolist()
    values = TickEncoder(source.vocabulary, 4).encode(columns)
    assert values[0].startswith(b'{"symbol":"IBM","bid":')


def test_a_source_of_no_records_is_of_trades() -> None:
    source = MemorySource([])
    assert (source.kind, source.verify(), list(source.chunks())) == ("trades", 0, [])
