"""A log in JSON, in MessagePack, or in both by turns: the same outputs, rows and reasons."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.forms import RecordDecoder, is_packed, pack, readable
from app.contracts.in_json import all_in_json, in_json
from app.contracts.outputs import OutputRecord
from app.contracts.wire import TradeRecord, encoder, trade_decoder
from tables.bars import BarsPartition
from tables.derived import BadRecordError
from tables.policies import policy_of
from tables.quality.intake import decode_quote, decode_trade
from tables.quotes import QuotesPartition
from tests.unit import test_features_partition as features
from tests.unit import test_quality_partition as quality
from tests.unit.bars_log import SECOND, START, Log, Run, batch, configuration, random_log
from tests.unit.recalling import apply_all
from tests.unit.test_quotes import random_quotes
from tests.unit.test_reconcile_corrections import recomputed

#: Bytes of a value that the partitions of all these tests take.
LIMIT = 4096
Kind = type[BarsPartition] | type[QuotesPartition]


def moved(log: Log, seed: int, share: float) -> Log:
    """The log with this share of its values as MessagePack; not those that are too large."""
    rng = random.Random(seed)
    return [
        (value if not value or len(value) > LIMIT or rng.random() >= share else pack(value), append)
        for value, append in log
    ]


def told(records: Sequence[OutputRecord]) -> list[Any]:
    """Records with the text of their values: late and dead ones are in the form they came in."""
    return [
        (each.key, each.headers, None if each.value is None else meaning(each.value))
        for each in records
    ]


def meaning(value: bytes) -> Any:
    """What a value says; the value where nobody can read it."""
    try:
        return msgspec.json.decode(readable(value))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value


def run_in_pieces(log: Log, seed: int, kind: Kind, **changes: object) -> Run:
    """The log in fetches of any size, with checkpoints and crashes; corrections are recalled."""
    rng = random.Random(seed)
    run = Run(configuration(**changes), kind)

    def read(first: int, end: int) -> Iterator[RecordBatch]:
        yield batch(log, first, end)

    while (run.state.next or 0) < len(log):
        begin = run.state.next or 0
        end = min(len(log), begin + rng.choice((1, 3, 20, 100)))
        apply_all(run.state, batch(log, begin, end), read)
        if rng.random() < 0.5:
            run.checkpoint()
        elif rng.random() < 0.2:
            run.crash()
    run.checkpoint()
    return run


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    corrections=st.sampled_from((0.0, 0.1)),
    policy=st.sampled_from(("all", "sip")),
    share=st.sampled_from((0.3, 1.0)),
)
def test_bars_are_the_same_bytes_whatever_the_form(
    seed: int, corrections: float, policy: str, share: float
) -> None:
    log = random_log(seed, random.Random(seed).randrange(1, 200), corrections=corrections)
    changes = {"policy": policy_of(policy)}
    expected = run_in_pieces(log, seed, BarsPartition, **changes)
    other = moved(log, seed, share)
    run = run_in_pieces(other, seed, BarsPartition, **changes)
    assert run.published["bars"] == expected.published["bars"]
    assert run.store == expected.store
    assert run.state.counts == expected.state.counts
    for name in ("late", "dead"):
        assert told(run.published[name]) == told(expected.published[name])
        offsets = [int(dict(each.headers)["offset"]) for each in run.published[name]]
        # The bytes as they came.
        assert [each.value for each in run.published[name]] == [other[n][0] for n in offsets]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.sampled_from((0.3, 1.0)))
def test_quote_bars_are_the_same_bytes_whatever_the_form(seed: int, share: float) -> None:
    log = random_quotes(seed, random.Random(seed).randrange(1, 200))
    expected = run_in_pieces(log, seed, QuotesPartition)
    run = run_in_pieces(moved(log, seed, share), seed, QuotesPartition)
    assert run.published["bars"] == expected.published["bars"]
    assert run.store == expected.store
    for name in ("late", "dead"):
        assert told(run.published[name]) == told(expected.published[name])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(("trades", "quotes")))
def test_features_are_the_same_whatever_the_form(seed: int, kind: str) -> None:
    log = features.log_of(kind, seed, 150)
    expected = features.Run(kind, features.features_of()).feed(log)
    run = features.Run(kind, features.features_of()).feed(moved(log, seed, 0.5))
    assert run.published.keys() == expected.published.keys()
    for name, records in expected.published.items():
        found: Any = run.published[name]
        assert told(found) == told(records)  # type: ignore[arg-type]
    assert run.store == expected.store


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), quotes=st.booleans())
def test_findings_are_the_same_and_clean_data_keeps_its_form(seed: int, quotes: bool) -> None:
    log = quality.log_of(seed, quotes)
    expected = quality.run_whole(log, quotes)
    run = quality.run_whole(moved(log, seed, 0.5), quotes)
    assert run.published.get("quality") == expected.published.get("quality")
    assert run.store == expected.store
    clean, expected_clean = (each.published.get("clean", []) for each in (run, expected))
    assert [(key, meaning(value or b"")) for key, value in clean] == [
        (key, meaning(value or b"")) for key, value in expected_clean
    ]
    assert {is_packed(value) for _, value in clean} == {False, True}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_bars_recomputed_in_batch_are_the_same_whatever_the_form(seed: int) -> None:
    config = configuration(recall_horizon=60 * SECOND)
    log = random_log(seed, random.Random(seed).randrange(1, 200), corrections=0.1)
    assert recomputed(config, moved(log, seed, 0.5), seed) == recomputed(config, log, seed)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_nul_in_a_name_is_malformed_in_either_form(share: float) -> None:
    trade = {"symbol": "AAA", "price": 1, "size": 1, "event_time": START}
    quote = {"symbol": "AAA", "bid": 1, "ask": 1, "event_time": START}
    for kind, good, fields in (
        (BarsPartition, trade, ("trade_id", "venue", "source")),
        (QuotesPartition, quote, ("venue", "source")),
    ):
        log = [(encoder.encode(good | {name: "a\0b"}), START) for name in fields]
        run = run_in_pieces(moved([*log, (encoder.encode(good), START)], 0, share), 0, kind)
        reasons = [dict(each.headers)["reason"] for each in run.published["dead"]]
        assert reasons == [b"malformed"] * len(fields)
        ticks = kind is BarsPartition
        for value, _ in moved(log, 0, share):
            with pytest.raises(BadRecordError, match="malformed"):
                (decode_trade if ticks else decode_quote)(value or b"")


# --- the two forms ------------------------------------------------------------------------------


@given(st.binary(max_size=60))
def test_whatever_the_bytes_only_errors_of_decoding_are_raised(value: bytes) -> None:
    for each in (value, b"\x81" + value, b"\x84\xa6symbol" + value):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            trade_decoder.decode(each)
        assert readable(each) is not None
        assert in_json("ticks", each) is not None
        assert pack(each) is not None


def test_a_map_of_any_width_is_told_by_its_first_byte() -> None:
    record = TradeRecord("A", 1.0, 2.0, 3)
    value = msgspec.msgpack.encode(record)
    rest = value[1:]
    count = value[0] & 0x0F
    decoder = RecordDecoder[TradeRecord](TradeRecord)
    wide = (b"\xde" + count.to_bytes(2, "big"), b"\xdf" + count.to_bytes(4, "big"))
    for each in (value, *(head + rest for head in wide)):
        assert is_packed(each)
        assert decoder.decode(each) == record
    assert not any(map(is_packed, (None, b"", b"{}", b" {", b"[", b"\x90", b"\xdc", b"\xff")))


def test_what_is_no_json_object_has_no_packed_form() -> None:
    for value in (b"", b"{", b"[1]", b"5", b'{"a":%d}' % 2**64, b'{"a":1}{}', b"\xff", b"{" * 5000):
        assert pack(value) == value


def test_the_json_of_a_value_is_that_of_its_record_without_what_is_absent() -> None:
    trade = b'{"symbol":"A","price":1.5,"size":2.0,"event_time":3,"conditions":["iso"]}'
    quote = b'{"symbol":"A","bid":1.5,"ask":2.0,"event_time":3,"source":"x"}'
    clock = b'{"type":"clock","event_time":3}'
    assert in_json("ticks", pack(trade)) == b'{"type":"trade",' + trade[1:]
    assert in_json("quotes", pack(quote)) == b'{"type":"quote",' + quote[1:]
    for topic in ("ticks", "quotes"):
        assert in_json(topic, pack(clock)) == clock
    for topic, value in (("ticks", quote), ("quotes", trade), ("bars", trade)):
        assert in_json(topic, pack(value)) == pack(value)
    values = [trade, None, b"", pack(trade), b"\x81"]
    assert all_in_json("ticks", values) == [
        trade,
        None,
        b"",
        in_json("ticks", pack(trade)),
        b"\x81",
    ]
    # Nothing is copied where nothing changes.
    assert all_in_json("bars", values) is values
    values = values[:3]
    assert all_in_json("ticks", values) is values


@pytest.mark.parametrize(
    "value", [b"\xc1", b"\x81\xa1a\xc7\x01\x05x", b"\x81\x01\x02", b"\x81\xa1a"]
)
def test_what_cannot_be_shown_as_json_is_shown_as_it_is_or_as_something(value: bytes) -> None:
    shown = readable(value)
    assert shown == value or msgspec.json.decode(shown)
