"""Values, partitions, compression and the simulated market: what goes to Kafka."""

import cramjam
import numpy as np
import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from app.connection import BrokerUnreachableError
from app.contracts.records import MAX_PRICE, MAX_SIZE, MAX_TIME, Trade
from app.contracts.wire import QuoteRecord, TradeRecord, quote_decoder, trade_decoder
from app.feeds.columns import Vocabulary, columns_of, quote_columns_of
from app.feeds.encode import TickEncoder
from app.feeds.partitioning import partition_of
from app.feeds.producer import TickSender
from app.settings import Settings
from app.streaming.compression import use_fast_lz4

T0 = 1_381_152_600_000_000_000
texts = st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text)
trades = st.builds(
    TradeRecord,
    symbol=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:/^=+-]{0,31}\Z"),
    price=st.floats(-MAX_PRICE, MAX_PRICE),
    size=st.floats(0, MAX_SIZE),
    event_time=st.integers(0, MAX_TIME),
    trade_id=texts | st.none(),
    sequence=st.integers(0, MAX_TIME),
    venue=texts | st.none(),
    conditions=st.lists(st.sampled_from(["iso", "odd_lot"]), max_size=8).map(tuple),
    source=texts | st.none(),
)


@given(st.lists(st.lists(trades, min_size=1, max_size=8), min_size=1, max_size=4))
@settings(deadline=None)
def test_what_is_written_is_read_back_exactly(chunks: list[list[TradeRecord]]) -> None:
    vocabulary = Vocabulary()
    encoder = TickEncoder(vocabulary, 16)
    for chunk in chunks:
        columns = columns_of(chunk, vocabulary)
        values = encoder.encode(columns)
        assert [trade_decoder.decode(value) for value in values] == chunk
        for trade, number in zip(chunk, columns.symbol.tolist(), strict=True):
            assert encoder.keys[number] == trade.symbol.encode()
            assert encoder.partitions[number] == partition_of(trade.symbol, 16)


def test_values_are_of_the_published_contract_and_leave_out_what_is_absent() -> None:
    vocabulary = Vocabulary()
    columns = columns_of([TradeRecord("SPY", 167.41, 100.0, T0, venue="P")], vocabulary)
    (value,) = TickEncoder(vocabulary, 4).encode(columns)
    assert value == (
        b'{"symbol":"SPY","price":167.41,"size":100,"event_time":1381152600000000000,'
        b'"sequence":0,"venue":"P"}'
    )
    assert Trade.model_validate_json(value).price == 167.41


amounts = st.floats(0, MAX_SIZE)
quotes = st.builds(
    QuoteRecord,
    symbol=st.sampled_from(["IBM", "EUR/USD"]),
    bid=st.floats(-MAX_PRICE, MAX_PRICE),
    ask=st.floats(-MAX_PRICE, MAX_PRICE),
    event_time=st.integers(0, MAX_TIME),
    bid_size=amounts,
    ask_size=amounts,
    sequence=st.integers(0, MAX_TIME),
    venue=st.sampled_from([None, "P", 'a"b']),
    source=st.sampled_from([None, "mine"]),
)


@given(st.lists(quotes, min_size=1, max_size=8))
@settings(deadline=None)
def test_quotes_are_read_back_exactly(records: list[QuoteRecord]) -> None:
    vocabulary = Vocabulary()
    values = TickEncoder(vocabulary, 16).encode(quote_columns_of(records, vocabulary))
    assert [quote_decoder.decode(value) for value in values] == records


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=32), st.integers(1, 64))
def test_partitions_are_those_of_kafkas_own_clients(symbol: str, partitions: int) -> None:
    everything = list(range(partitions))
    expected = DefaultPartitioner()(symbol.encode(), everything, everything)
    assert partition_of(symbol, partitions) == expected


def test_partitions_are_known_ones() -> None:
    """murmur2 of these keys, as Kafka's own UtilsTest has them."""
    known = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for symbol, hashed in known.items():
        assert partition_of(symbol, 2**31) == hashed & 0x7FFF_FFFF


def build() -> bytes:
    builder = DefaultRecordBatchBuilder(2, 3, False, -1, -1, 0, 1_000_000)
    rng = np.random.default_rng(1)
    for offset, number in enumerate(rng.integers(0, 10**9, 4_000).tolist()):
        value = b'{"symbol":"SPY","price":%d,"size":100,"event_time":%d}' % (number, T0 + offset)
        builder.append(offset, 1, key=b"SPY", value=value, headers=[])
    return bytes(builder.build())


def test_lz4_is_written_at_its_fast_level() -> None:
    """aio-libs/aiokafka#1028. Needed as long as the library's own level is a slow one."""
    assert use_fast_lz4()
    header = 61
    compressed = build()[header:]
    raw = bytes(cramjam.lz4.decompress(compressed))

    def at(level: int) -> bytes:
        compressor = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
        compressor.compress(raw)
        return bytes(compressor.finish())

    assert compressed == at(1)
    assert len(at(9)) < len(compressed) < 0.6 * len(raw)


def test_a_sender_wants_a_broker_and_a_batch() -> None:
    with pytest.raises(BrokerUnreachableError, match="BROKER__URL is not set"):
        TickSender(Settings())
    with pytest.raises(ValueError, match="batch_records 0; expected at least 1"):
        TickSender(Settings(broker={"url": "kafka://127.0.0.1:1"}), 0)
