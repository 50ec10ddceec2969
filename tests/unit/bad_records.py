"""Everything that may be wrong with a record of a topic, made from a good one, with its reason.

The list is that of tests/broker/test_engine_bad_input.py, for each topic that a derived agent
reads: what is wrong with any text, with a control record, with any field, and with the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.contracts.wire import encoder
from tests.unit.bad_indicators import bad_indicators
from tests.unit.bad_values import (
    FAR,
    HUGE,
    NOT_NUMBERS,
    Bad,
    Shape,
    changed,
    raw,
    sample,
    without,
)
from tests.unit.good_records import MAX_MESSAGE_BYTES, PARTITIONS, SECOND, START


def _texts(whole: bytes, limit: int) -> Iterator[Bad]:
    """What is wrong with any text."""
    yield Bad("null", (None,), "null")
    yield Bad("empty", (b"",), "empty")
    yield Bad("too large", (whole + b" " * (limit + 1 - len(whole)),), "too_large")
    yield Bad("far too large", (whole + b" " * 8 * limit,), "too_large")
    yield Bad("JSON that is not JSON", (b"{symbol: 1}",))
    yield Bad("no text at all", (b"\xff\xfe\x00",))
    yield Bad("blanks", (b" \n",))
    yield Bad("cut", (whole[:-1],))
    yield Bad("neighbours that only together are JSON", (whole[:30], whole[30:]))
    yield Bad("neighbours that a comma would join", (b"[" + whole, whole + b"]"))
    yield Bad("two objects", (whole + whole,))
    yield Bad("two objects with a comma", (whole + b"," + whole,))
    yield Bad("two objects on two lines", (whole + b"\n" + whole,))
    yield Bad("two objects in an array", (b"[" + whole + b"," + whole + b"]",))
    yield Bad("a byte order mark", (b"\xef\xbb\xbf" + whole,))
    yield Bad("a NUL behind", (whole + b"\x00",))
    for text in (b"42", b'"text"', b"null", b"true", b"[]", b"{}", b"NaN"):
        yield Bad(f"only {text.decode()}", (text,))
    yield Bad("nested without an end", (b"[" * 20_000,))
    yield Bad("nested arrays", (b"[" * 10_000 + b"]" * 10_000,))
    yield Bad("nested objects", (b'{"a":' * 5_000 + b"1" + b"}" * 5_000,))


def _controls(shape: Shape) -> Iterator[Bad]:
    """Control records that nobody may send here."""
    every = (
        b'{"type":"explode"}',
        b'{"type":""}',
        b'{"type":null}',
        b'{"type":1}',
        b'{"type":["flush"]}',
        b'{"type":{"type":"flush"}}',
        b'{"type":"flu\\u0000sh"}',
        b'{"type":"flush\\u0000"}',
        b'{"type":"flu\x00sh"}',
        b'{"type":"flush\xff"}',
        b'{"type":"\\ud800"}',
        b'{"type":"FLUSH"}',
        b'{"type":"flush","type":"explode"}',
        b'{"Type":"flush"}',
        b'{"type":"flush"}{"type":"flush"}',
        b'{"type":"flush","reason":"none"}',
        b'{"type":"historical","event_time":1}',
        b'{"type":"clock"}',
        b'{"type":"clock","event_time":1.5}',
        b'{"type":"clock","event_time":-1}',
        b'{"type":"clock","event_time":%d,"symbol":"A"}' % START,
        b'{"type":"clock","event_time":' + b"[" * 20_000,
        b'{"type":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        *(b'{"type":"clock","event_time":%s}' % each.encode() for each in (*HUGE, *NOT_NUMBERS)),
    )
    for number, value in enumerate(every):
        yield Bad(f"control {number} {value[:44]!r}", (value,))
    flush = b'{"type":"flush"}'
    yield Bad("too large a control", (flush + b" " * (shape.limit + 1 - len(flush)),), "too_large")
    late = "event_time_too_late" if shape.control else "malformed"
    yield Bad("a clock far ahead", (b'{"type":"clock","event_time":%d}' % FAR,), late)
    if shape.early or not shape.control:
        early = "event_time_too_early" if shape.control else "malformed"
        for time in (0, 1, 631_151_999 * SECOND):
            clock = b'{"type":"clock","event_time":%d}' % time
            yield Bad(f"a clock of long ago, {time}", (clock,), early)
    if not shape.control:
        yield Bad("a flush, which means nothing here", (flush,))


def _fields(record: Mapping[str, Any], shape: Shape) -> Iterator[Bad]:
    """What is wrong with a field."""
    yield Bad("an unknown field", (changed(record, colour="red"),))
    yield Bad("an unknown nested field", (raw(record, "colour", b"[" * 5_000 + b"]" * 5_000),))
    yield Bad("unknown type", (changed(record, type="explode"),))
    yield Bad("type of no text", (changed(record, type=7),))
    for field in record:
        if field in shape.optional or field == "type":
            continue
        yield Bad(f"no {field}", (without(record, field),))
        wrong: object
        for wrong in ([], {}, [[]], {"a": 1}):
            # An empty list of sources is one; of objects without indicators the reason is another.
            if (field, wrong) not in (("sources", []), ("values", {}), ("values", {"a": 1})):
                yield Bad(f"{field} as {wrong}", (changed(record, **{field: wrong}),))
    for field in shape.prices:
        for text in (*NOT_NUMBERS, "1e13", "-1e13", "9" * 400):
            if (field, text) not in (("close", "null"), ("vwap", "null")) or "pair" not in record:
                yield Bad(f"{field} is {text[:12]}", (raw(record, field, text),))
    for field in (shape.time, *shape.counts):
        for text in (*NOT_NUMBERS, *HUGE, "-1", "1.5", '"0"'):
            yield Bad(f"{field} is {text[:12]}, {len(text)}", (raw(record, field, text),))
    for text in ("1", "null", "true", "[]", '"\xff', '"\\ud800"', '"\\x"'):
        yield Bad(f"{shape.name} is {text}", (raw(record, shape.name, text),))
    yield Bad(f"{shape.name} is no UTF-8", (raw(record, shape.name, b'"A\xff\xfe"'),))
    yield Bad(f"{shape.name} has a raw NUL", (raw(record, shape.name, b'"A\x00"'),))
    yield Bad(f"{shape.name} has a NUL", (raw(record, shape.name, b'"A\\u0000"'),), shape.nul)
    late = changed(record, **{shape.time: FAR})
    yield Bad("a time far ahead", (late,), "event_time_too_late")
    if shape.early:
        for time in (0, 631_151_999 * SECOND):
            early = changed(record, **{shape.time: time})
            yield Bad(f"a time of long ago, {time}", (early,), "event_time_too_early")


def _symbols(source: str, partition: int) -> Iterator[Bad]:
    record = sample(source, partition)
    for symbol in ("a b", "-A", "A\n", "é", "A\u202eB"):
        yield Bad(f"symbol {symbol!r}", (changed(record, symbol=symbol),), "bad_symbol")
    for symbol in ("", "A" * 33):
        yield Bad(f"symbol of {len(symbol)}", (changed(record, symbol=symbol),))


def _trades(partition: int) -> Iterator[Bad]:
    record = sample("ticks", partition)
    yield from _symbols("ticks", partition)
    yield Bad("negative size", (changed(record, size=-1.0),))
    yield Bad("notional", (changed(record, price=1e12, size=1e12),), "notional_too_large")
    unknown = changed(record, conditions=["full_moon"])
    yield Bad("unknown condition", (unknown,), "unknown_condition")
    yield Bad("trade id with a NUL", (changed(record, trade_id="a\0b"),))
    yield Bad("a quote", (b'{"type":"quote"}',))
    for fields in ({"action": "explode"}, {"symbol": None}, {"event_time": "NaN"}, {"more": 1}):
        correction = {"type": "correction", "action": "cancel", "symbol": record["symbol"]}
        correction |= {"event_time": START, "trade_id": "x"} | fields
        yield Bad(f"correction with {fields}", (encoder.encode(correction),))


def _quotes(partition: int) -> Iterator[Bad]:
    record = sample("quotes", partition)
    yield from _symbols("quotes", partition)
    yield Bad("negative size", (changed(record, bid_size=-1.0),))
    yield Bad("venue with a NUL", (changed(record, venue="a\0b"),))
    yield Bad("a trade", (b'{"type":"trade"}',))
    yield Bad("conditions", (changed(record, conditions=["iso"]),))
    correction = {"type": "correction", "action": "cancel", "symbol": record["symbol"]}
    yield Bad("a correction", (encoder.encode(correction | {"event_time": START}),))


def _bars_of(source: str) -> Callable[[int], Iterator[Bad]]:
    def found(partition: int) -> Iterator[Bad]:
        record = sample(source, partition)
        yield from _symbols(source, partition)
        for interval in ("7s", "", "1 s", "1s\0"):
            other = changed(record, interval=interval)
            yield Bad(f"interval {interval!r}", (other,), "unknown_interval")
        yield Bad("long interval", (changed(record, interval="1" * 17),))
        yield Bad("a start that no bar has", (changed(record, start=START + 1),))

    return found


def _bars(partition: int) -> Iterator[Bad]:
    record = sample("bars", partition)
    yield from _bars_of("bars")(partition)
    yield Bad("sources of no text", (changed(record, sources=[1]),))
    yield Bad("no flag", (changed(record, is_final="true"),))
    yield Bad("negative volume", (changed(record, volume=-1.0),))


def _quote_bars(partition: int) -> Iterator[Bad]:
    record = sample("quotes.bars", partition)
    yield from _bars_of("quotes.bars")(partition)
    yield Bad("sources of no text", (changed(record, sources=[1]),))
    yield Bad("no flag", (changed(record, is_final="true"),))


def _indicators(partition: int) -> Iterator[Bad]:
    yield from _bars_of("indicators")(partition)
    yield from bad_indicators(partition)


def _legs(partition: int) -> Iterator[Bad]:
    record = sample("pairs.input", partition)
    yield Bad("an unknown pair", (changed(record, pair="A/B@1s"),), "unknown_pair")
    for fields in ({"symbol": "A"}, {"interval": "1m"}, {"partition": 7}):
        yield Bad(f"a leg with {fields}", (changed(record, **fields),), "not_of_pair")
    yield Bad("a start that no bar has", (changed(record, start=START + 1),))
    mark = {"type": "progress", "partition": 0, "interval": "1s", "watermark": START}
    for fields in ({"partition": 7}, {"interval": "7s"}, {"interval": "1m"}):
        yield Bad(f"a mark with {fields}", (encoder.encode(mark | fields),), "not_of_pair")
    far = encoder.encode(mark | {"watermark": FAR})
    yield Bad("a mark far ahead", (far,), "event_time_too_late")
    yield Bad("a mark of no bar", (encoder.encode(mark | {"watermark": START + 1}),))
    for field in ("partition", "watermark"):
        for text in (*NOT_NUMBERS, *HUGE, "-1", "1.5"):
            yield Bad(f"a mark with {field} {text[:12]}, {len(text)}", (raw(mark, field, text),))


def _alerts(partition: int) -> Iterator[Bad]:
    record = sample("alerts.events", partition)
    for fields in (
        {"alert_type": "No Type"},
        {"alert_type": "a\n"},
        {"alert_type": "a" * 65},
        {"severity": "mild"},
        {"state": "exploding"},
        {"key": ""},
        {"key": "k" * 65},
        {"title": ""},
        {"title": "t" * 10_000},
        {"details": {"a": 1}},
        {"details": {str(number): "" for number in range(1_000)}},
        {"value": "1"},
        {"quiet_time": 0},
        {"quiet_time": 2**62},
    ):
        text = str(fields)[:50]
        yield Bad(f"an alert with {text}", (changed(record, **fields),))
    for control in (
        {"type": "silence", "id": "x"},
        {"type": "silence", "id": "x", "until": -1},
        {"type": "silence", "id": "x", "until": 2**63},
        {"type": "silence", "id": "x\0", "until": START},
        {"type": "silence", "id": "x" * 65, "until": START},
        {"type": "silence", "id": "x", "until": START, "key": ""},
        {"type": "silence", "id": "x", "until": START, "more": 1},
        {"type": "unsilence"},
        {"type": "unsilence", "id": ""},
        {"type": "unsilence", "id": None},
        {"type": "acknowledge", "key": 1},
        {"type": "acknowledge", "by": "\0"},
        {"type": "price_alert", "id": "x", "symbol": "A", "above": 1.0},
    ):
        yield Bad(f"control {control}", (encoder.encode(control),))


def _account(source: str) -> Callable[[int], Iterator[Bad]]:
    def found(partition: int) -> Iterator[Bad]:
        record = sample(source, partition)
        for symbol in ("a b", "A\n", "A\0"):
            yield Bad(f"symbol {symbol!r}", (changed(record, symbol=symbol),), "bad_symbol")
        large = changed(record, price=1e12, quantity=1e12)
        yield Bad("notional", (large,), "notional_too_large")
        for fields in (
            {"side": "hold"},
            {"quantity": 0.0},
            {"quantity": -1.0},
            {"transaction_id": ""},
            {"transaction_id": "a\0"},
            {"fee": 1e15},
            {"partition": -1},
            {"partition": 2**31},
        ):
            yield Bad(f"a transaction with {fields}", (changed(record, **fields),))
        early = changed(record, event_time=0)
        yield Bad("a time of long ago", (early,), "event_time_too_early")
        update = {"type": "portfolio_update", "account": record["account"], "update_id": "u"}
        for more in (
            {"action": "explode"},
            {"action": "deposit"},
            {"action": "deposit", "amount": "1"},
            {"action": "deposit", "amount": 1.0, "symbol": "A"},
            {"action": "split", "symbol": "A", "split_to": 0, "split_from": 1},
            {"action": "set_limit", "limit": "max_fun"},
        ):
            value = encoder.encode(update | {"event_time": START} | more)
            yield Bad(f"an update with {more}", (value,))

    return found


def _portfolio(partition: int) -> Iterator[Bad]:
    record = sample("portfolio.input", partition)
    yield from _account("portfolio.input")(partition)
    yield Bad("of no input", (changed(record, partition=9),), "unknown_input")
    other = changed(record, currency="XXX", transaction_id="other")
    yield Bad("another currency", (other,), "other_currency")
    price: dict[str, Any] = {
        "type": "price",
        "symbol": "A",
        "interval": "1m",
        "close": 1.0,
        "partition": 0,
    }
    price |= {"start": START, "end": START + 60 * SECOND}
    for fields in ({"end": START}, {"close": None}, {"interval": ""}, {"revision": -1}):
        yield Bad(f"a price with {fields}", (encoder.encode(price | fields),))
    far = encoder.encode(price | {"start": FAR, "end": FAR + 60 * SECOND})
    yield Bad("a price far ahead", (far,), "event_time_too_late")
    mark = {"type": "progress", "input": "bars", "partition": 0, "watermark": START}
    for fields in ({"input": ""}, {"idle": 1}, {"watermark": -1}, {"watermark": "1"}):
        yield Bad(f"a mark with {fields}", (encoder.encode(mark | fields),))
    for fields in ({"input": "explode"}, {"partition": 7}):
        yield Bad(f"a mark of {fields}", (encoder.encode(mark | fields),), "unknown_input")
    far = encoder.encode(mark | {"watermark": FAR})
    yield Bad("a mark far ahead", (far,), "event_time_too_late")
    for kind in ("flush", "historical"):
        yield Bad(f"a {kind}, which means nothing here", (b'{"type":"%s"}' % kind.encode(),))


_QUOTE_PRICES = tuple(
    f"{side}_{each}" for side in ("bid", "ask", "mid") for each in ("open", "high", "low", "close")
)
#: What may be absent of a trade or quote.
_OPTIONAL = (
    *("trade_id", "sequence", "venue", "conditions", "source"),
    *("bid_size", "ask_size"),
)
_HALF = MAX_MESSAGE_BYTES // 2
SHAPES: Mapping[str, Shape] = {
    "ticks": Shape(
        _HALF, "symbol", "bad_symbol", "wrong_partition", "event_time", ("price", "size"),
        optional=_OPTIONAL, control=True, early=True, more=_trades,
    ),
    "quotes": Shape(
        _HALF, "symbol", "bad_symbol", "wrong_partition", "event_time", ("bid", "ask"),
        optional=_OPTIONAL, control=True, early=True, more=_quotes,
    ),
    "bars": Shape(
        MAX_MESSAGE_BYTES, "symbol", "bad_symbol", "wrong_partition", "start",
        ("open", "high", "low", "close"), ("trades", "revision"), more=_bars,
    ),
    "quotes.bars": Shape(
        MAX_MESSAGE_BYTES, "symbol", "bad_symbol", "wrong_partition", "start", _QUOTE_PRICES,
        ("quotes", "revision"), more=_quote_bars,
    ),
    "indicators": Shape(
        MAX_MESSAGE_BYTES, "symbol", "bad_symbol", "wrong_partition", "start", (), ("revision",),
        more=_indicators,
    ),
    "pairs.input": Shape(
        MAX_MESSAGE_BYTES, "pair", "unknown_pair", "wrong_partition", "start", ("close",),
        ("revision", "partition", "position"), more=_legs,
    ),
    "alerts.events": Shape(
        MAX_MESSAGE_BYTES, "key", "malformed", "wrong_partition", "event_time", (),
        optional=("state",), control=True, more=_alerts,
    ),
    "transactions": Shape(
        _HALF, "account", "malformed", "wrong_partition", "event_time", ("quantity", "price"),
        control=True, more=_account("transactions"),
    ),
    "portfolio.input": Shape(
        MAX_MESSAGE_BYTES, "account", "malformed", "wrong_partition", "event_time",
        ("quantity", "price"), optional=("partition",), control=True, more=_portfolio,
    ),
}  # fmt: skip


def _elsewhere(source: str, partition: int) -> bytes:
    """A record that belongs to another partition."""
    shape, record = SHAPES[source], sample(source, partition)
    other = sample(source, (partition + 1) % PARTITIONS)
    return changed(other if shape.name == "pair" else record, **{shape.name: other[shape.name]})


def bad_records(source: str, partition: int) -> list[Bad]:
    """The whole list of a topic, each with a name of its own."""
    shape, record = SHAPES[source], sample(source, partition)
    whole = encoder.encode(record)
    found = [
        *_texts(whole, shape.limit),
        *_controls(shape),
        *_fields(record, shape),
        Bad("of another partition", (_elsewhere(source, partition),), shape.elsewhere),
        *shape.more(partition),
    ]
    assert len({each.name for each in found}) == len(found)
    return found
