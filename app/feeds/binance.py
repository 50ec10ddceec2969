"""Binance's raw web-socket frames, one a line: `local_ns JSON`, plain JSON too, in a `.gz`.

    1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT",...}}

The payload is a combined stream's or the event alone. Most frames are order-book updates; they are
told by their first bytes and not decoded. As trades: `trade` events (an `aggTrade` is several of
them in one, so it is none). As quotes: `bookTicker` events that have a time, which spot's have
not. All others are left out and counted by their event.

`event_time` is the exchange's (`T`). The local stamp is not used: a recorder's clock may be off (in
a recording at hand it is 1.27 s behind). `sequence` of a trade is its id `t`, of a quote its update
id `u`: the exchange's own order.

A line that cannot be read, or a trade that is not of the market or out of the contract's bounds, is
sent as it is, so that the engine sets it aside with its bytes and its reason. It goes to the symbol
and at the time of the line before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import numpy as np

from app.feeds.binance_events import (
    FUTURES,
    MARKET,
    SPOT,
    Ticker,
    TickerEvent,
    Trade,
    TradeEvent,
    ticker_of,
    trade_of,
)
from app.feeds.columns import Origin, QuoteColumns, TickColumns, TradeColumns, Vocabulary
from app.feeds.errors import FeedError
from app.feeds.files import BLOCK_BYTES, Binary, Kind, LineTooLongError
from app.feeds.gzipped import reading

SOURCE: Final = "binance"
#: Of a file that begins with lines which cannot be read, so that its symbol is not known yet.
UNKNOWN_SYMBOL: Final = "UNREADABLE"
#: A snapshot of 5,000 levels a side has about 0.4 MB.
MAX_FRAME_BYTES: Final = 1 << 22
#: In which a frame must come that says its stream or event: after answers and snapshots.
LOOK_BYTES: Final = 1 << 19
TRADE: Final = "trade"
TICKER: Final = "bookTicker"
TICKER_WITHOUT_TIME: Final = "bookTicker without time"
WITHOUT_EVENT: Final = "frame without an event"
BLANK: Final = "blank line"
MAX_EVENT: Final = 32
QUOTE_NUMBERS: Final = ("bid", "ask", "bid_size", "ask_size")
#: The event a file's lines of this kind are.
EVENTS: Final[dict[Kind, str]] = {"trades": TRADE, "quotes": TICKER}

#: Stamp, stream (`symbol@kind@more`) and event of a frame, as Binance writes them.
_HEAD: Final = re.compile(
    rb'(?:\d{1,19} )?(?:\{"stream":"[^"@]{1,40}@(\w{1,32})[^"]{0,40}","data":)?'
    rb'\{(?:"e":"(\w{1,32})")?'
)
_STAMP: Final = re.compile(rb"\d{1,19} ")
_SYMBOL: Final = re.compile(rb'"s":"([A-Z0-9_]{1,32})"')

Event = TypeVar("Event")


class _Combined(msgspec.Struct, Generic[Event], gc=False):
    """A frame of a combined stream."""

    data: Event


_TYPES: Final = {TRADE: TradeEvent, TICKER: TickerEvent}
#: For each event: of the event alone, of a combined stream's frame.
_DECODERS: Final[dict[str, tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]]] = {
    TRADE: (msgspec.json.Decoder(TradeEvent), msgspec.json.Decoder(_Combined[TradeEvent])),
    TICKER: (msgspec.json.Decoder(TickerEvent), msgspec.json.Decoder(_Combined[TickerEvent])),
}


@dataclass(frozen=True, slots=True)
class BinanceFile:
    """A file's frames of one kind. `symbol` is that of its first event."""

    path: Path
    kind: Kind
    symbol: str

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its trades or quotes, and the lines that cannot be read, block by block.

        Raises:
            FeedError: the gzip file is truncated or damaged (line None), or has no line ends.
        """
        reader = _Reader(self, vocabulary, left_out)
        with reading(self.path) as stream:
            try:
                for lines in _lines(stream):
                    part = reader.read(lines)
                    if part is not None:
                        yield part
            except LineTooLongError as error:
                raise FeedError(self.path, None, str(error)) from None


def open_binance(path: Path) -> tuple[BinanceFile, BinanceFile] | str:
    """A file of frames, as trades and as quotes, or the reason why it is something else.

    Raises:
        FeedError: the file cannot be read.
    """
    with reading(path) as stream:
        begin = stream.read(LOOK_BYTES)
    for line in begin.split(b"\n"):
        head = _HEAD.match(line)
        if head is not None and (head[1] is not None or head[2] is not None):
            symbol = _SYMBOL.search(line)
            name = UNKNOWN_SYMBOL if symbol is None else symbol[1].decode()
            return BinanceFile(path, "trades", name), BinanceFile(path, "quotes", name)
    return "no Binance frame at its begin"


def _lines(stream: Binary) -> Iterator[list[bytes]]:
    """Whole lines, about a block's at a time."""
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_FRAME_BYTES:
            raise LineTooLongError(f"no line end within {MAX_FRAME_BYTES} bytes")
        yield lines
    if rest:
        yield [rest]


class _Reader:
    """One pass over a file: the records of each block, and where the last one stood."""

    def __init__(self, file: BinanceFile, vocabulary: Vocabulary, left_out: Counter[str]) -> None:
        self._kind = file.kind
        self._event = EVENTS[file.kind]
        self._vocabulary = vocabulary
        self._left_out = left_out
        #: Symbol, ns and sequence of the record before: an unreadable line's own.
        self._place = (file.symbol, 0, 0)

    def read(self, lines: Iterable[bytes]) -> TickColumns | None:
        """A block's records; None where it has none."""
        records: list[Trade | Ticker] = []
        values: list[bytes | None] = []
        others: Counter[bytes] = Counter()
        head_of, wanted = _HEAD.match, self._event.encode()
        for line in lines:
            head = head_of(line)
            event = None if head is None else _event_of(head)
            if event is not None and event != wanted and line.endswith(b"}"):
                others[event] += 1
                continue
            record = self._record(line, event == wanted, head is not None and head[1] is not None)
            if isinstance(record, str):
                self._left_out[record] += 1
                continue
            values.append(line if record is None else None)
            if record is None:
                record = self._stand_in()
            records.append(record)
            self._place = (record.symbol, record.time or 0, record.id)
        self._left_out.update({event.decode(): count for event, count in others.items()})
        return self._columns(records, values) if records else None

    def _record(self, line: bytes, known: bool, combined: bool) -> Trade | Ticker | str | None:
        """A line's record; why it is left out; None where it cannot be read.

        `known`: its first bytes say that it is of the wanted event; `combined`: with its stream.
        """
        stamp = _STAMP.match(line)
        payload = line if stamp is None else line[stamp.end() :]
        if not payload.strip():
            return BLANK
        try:
            if known:
                decoded = _DECODERS[self._event][combined].decode(payload)
                return self._judged(decoded.data if combined else decoded)
            return self._undetermined(msgspec.json.decode(payload))
        except (msgspec.DecodeError, ValueError):
            return None

    def _undetermined(self, frame: Any) -> Trade | Ticker | str:
        """A frame whose first bytes do not say what it is: in another order, or of another kind.

        Raises:
            ValidationError, ValueError: it is of the wanted event, and broken.
        """
        data = frame.get("data", frame) if isinstance(frame, dict) else None
        event = data.get("e") if isinstance(data, dict) else None
        if event is None and isinstance(data, dict) and set("usbBaA") <= set(data):
            event = TICKER
        if not isinstance(event, str):
            return WITHOUT_EVENT
        if event != self._event:
            return event[:MAX_EVENT]
        return self._judged(msgspec.convert(data, _TYPES[self._event]))

    def _judged(self, event: TradeEvent | TickerEvent) -> Trade | Ticker | str:
        if isinstance(event, TradeEvent):
            if event.market not in (None, MARKET):
                return f"{TRADE}, X {event.market[:MAX_EVENT]}"
            return trade_of(event)
        ticker = ticker_of(event)
        return TICKER_WITHOUT_TIME if ticker.time is None else ticker

    def _stand_in(self) -> Trade | Ticker:
        """What gives a line that cannot be read its place in the stream."""
        symbol, time, number = self._place
        if self._kind == "trades":
            return Trade(symbol, 0.0, 0.0, time, number, SPOT)
        return Ticker(symbol, 0.0, 0.0, 0.0, 0.0, time, number, FUTURES)

    def _columns(self, records: list[Trade | Ticker], values: list[bytes | None]) -> TickColumns:
        symbols, origins = self._vocabulary.symbols, self._vocabulary.origins
        value = None
        if any(line is not None for line in values):
            value = np.array(values, dtype=object)
        common: dict[str, Any] = {
            "symbol": np.array([symbols.number(each.symbol) for each in records], dtype=np.int32),
            "event_time": np.array([each.time for each in records], dtype=np.int64),
            "sequence": np.array([each.id for each in records], dtype=np.int64),
            "origin": np.array(
                [origins.number(Origin(each.venue, (), SOURCE)) for each in records],
                dtype=np.int32,
            ),
            "value": value,
        }
        names = ("price", "size") if self._kind == "trades" else QUOTE_NUMBERS
        for name in names:
            numbers = [getattr(each, name) for each in records]
            common[name] = np.array(numbers, dtype=np.float64)
        if self._kind == "quotes":
            return QuoteColumns(**common)
        identifiers = np.array([str(each.id) for each in records], dtype=object)
        return TradeColumns(**common, trade_id=identifiers)


def _event_of(head: re.Match[bytes]) -> bytes | None:
    """What a frame's first bytes say that it is; spot's bookTicker says it by its stream alone."""
    event: bytes | None = head[2]
    return head[1] if event is None and head[1] == TICKER.encode() else event
