"""Bad records on purpose: every kind that the engine must turn away, as a table.

They are sent besides the good ones and change nothing, so an export must equal that of the good
ones alone. Each kind is made from the bytes of a good trade or quote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from app.feeds.files import Kind
from app.feeds.partitioning import partition_of

#: A value of a topic; None is Kafka's null.
Value = bytes | None
#: 1980-01-01 and 2200-01-01 in ns.
TOO_EARLY: Final = 315_532_800_000_000_000
TOO_LATE: Final = 7_258_118_400_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What the bad values must exceed: `value_bytes` is the longest that is taken."""

    value_bytes: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of bad record.

    Attributes:
        name: of the kind.
        reason: what the engine gives as the reason (app/README.md, *Parse*).
        make: consecutive values of one partition, from a good record's bytes.
        weight: how often it is chosen, relative to the others.
        partitions_at_least: the kind needs so many partitions.
    """

    name: str
    reason: str
    make: Callable[[bytes, Limits], tuple[Value, ...]]
    weight: float = 1.0
    partitions_at_least: int = 1


def _changed(record: bytes, **fields: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(record), **fields})


def _raw(record: bytes, name: str, text: bytes) -> bytes:
    """The record with a field written as this text, which need not be JSON."""
    marked = _changed(record, **{name: "\x00"})
    return marked.replace(b'"\\u0000"', text)


def _without(record: bytes, name: str) -> bytes:
    fields = msgspec.json.decode(record)
    del fields[name]
    return msgspec.json.encode(fields)


def _elsewhere(record: bytes, limits: Limits) -> tuple[Value, ...]:
    """A symbol of another partition than the record's."""
    here = partition_of(msgspec.json.decode(record)["symbol"], limits.partitions)
    number = 0
    while partition_of(f"ELSEWHERE-{number}", limits.partitions) == here:
        number += 1
    return (_changed(record, symbol=f"ELSEWHERE-{number}"),)


def _too_large(record: bytes, limits: Limits) -> tuple[Value, ...]:
    return (record + b" " * (limits.value_bytes + 1 - len(record)),)


#: What is wrong with any record.
_ANY: Final[tuple[Corruption, ...]] = (
    Corruption("null", "null", lambda record, limits: (None,)),
    Corruption("empty", "empty", lambda record, limits: (b"",)),
    Corruption("too_large", "too_large", _too_large, weight=0.002),
    Corruption("not_json", "malformed", lambda record, limits: (b"\xff\x00 not JSON",)),
    Corruption("cut", "malformed", lambda record, limits: (record[: len(record) // 2],)),
    Corruption(
        "halves",
        "malformed",
        lambda record, limits: (record[: len(record) // 2], record[len(record) // 2 :]),
    ),
    Corruption("two_objects", "malformed", lambda record, limits: (record + record,)),
    Corruption(
        "two_in_array", "malformed", lambda record, limits: (b"[" + record + b"," + record + b"]",)
    ),
    Corruption("comma_joined", "malformed", lambda record, limits: (record + b"," + record,)),
    Corruption("not_an_object", "malformed", lambda record, limits: (b"42",)),
    Corruption(
        "huge_integer",
        "malformed",
        lambda record, limits: (_raw(record, "event_time", b"9" * 400),),
    ),
    Corruption(
        "beyond_64_bits",
        "malformed",
        lambda record, limits: (_raw(record, "event_time", str(2**63).encode()),),
    ),
    Corruption("missing_symbol", "malformed", lambda record, limits: (_without(record, "symbol"),)),
    Corruption(
        "unknown_field", "malformed", lambda record, limits: (_changed(record, colour="red"),)
    ),
    Corruption(
        "bad_symbol", "bad_symbol", lambda record, limits: (_changed(record, symbol="no good"),)
    ),
    Corruption(
        "too_early",
        "event_time_too_early",
        lambda record, limits: (_changed(record, event_time=TOO_EARLY),),
    ),
    Corruption(
        "far_future",
        "event_time_too_late",
        lambda record, limits: (_changed(record, event_time=TOO_LATE),),
    ),
    Corruption("other_partition", "wrong_partition", _elsewhere, partitions_at_least=2),
)
#: Of the topic `ticks`, made from a trade.
CORRUPTIONS: Final[tuple[Corruption, ...]] = (
    *_ANY,
    Corruption("negative_size", "malformed", lambda trade, limits: (_changed(trade, size=-1.0),)),
    Corruption("nan", "malformed", lambda trade, limits: (_raw(trade, "price", b"NaN"),)),
    Corruption("infinity", "malformed", lambda trade, limits: (_raw(trade, "size", b"Infinity"),)),
    Corruption(
        "infinite_exponent", "malformed", lambda trade, limits: (_raw(trade, "price", b"1e999"),)
    ),
    Corruption("missing_price", "malformed", lambda trade, limits: (_without(trade, "price"),)),
    Corruption("wrong_type", "malformed", lambda trade, limits: (_changed(trade, price="1"),)),
    Corruption("unknown_type", "malformed", lambda trade, limits: (b'{"type":"quote"}',)),
    Corruption(
        "unknown_condition",
        "unknown_condition",
        lambda trade, limits: (_changed(trade, conditions=["full_moon"]),),
    ),
    Corruption(
        "huge_notional",
        "notional_too_large",
        lambda trade, limits: (_changed(trade, price=1e12, size=1e12),),
    ),
)
#: Of the topic `quotes`, made from a quote.
QUOTE_CORRUPTIONS: Final[tuple[Corruption, ...]] = (
    *_ANY,
    Corruption(
        "negative_size", "malformed", lambda quote, limits: (_changed(quote, bid_size=-1.0),)
    ),
    Corruption("nan", "malformed", lambda quote, limits: (_raw(quote, "bid", b"NaN"),)),
    Corruption(
        "infinity", "malformed", lambda quote, limits: (_raw(quote, "ask_size", b"Infinity"),)
    ),
    Corruption(
        "infinite_exponent", "malformed", lambda quote, limits: (_raw(quote, "ask", b"1e999"),)
    ),
    Corruption("missing_bid", "malformed", lambda quote, limits: (_without(quote, "bid"),)),
    Corruption("missing_ask", "malformed", lambda quote, limits: (_without(quote, "ask"),)),
    Corruption("wrong_type", "malformed", lambda quote, limits: (_changed(quote, ask="1"),)),
    Corruption("unknown_type", "malformed", lambda quote, limits: (b'{"type":"trade"}',)),
    Corruption(
        "conditions", "malformed", lambda quote, limits: (_changed(quote, conditions=["iso"]),)
    ),
    Corruption("huge_bid", "malformed", lambda quote, limits: (_changed(quote, bid=1e13),)),
)


class Corrupter:
    """Inserts bad records after good ones, by a seed."""

    def __init__(self, share: float, limits: Limits, seed: int, kind: Kind = "trades") -> None:
        self._share = share
        self._limits = limits
        table = QUOTE_CORRUPTIONS if kind == "quotes" else CORRUPTIONS
        kinds = [each for each in table if each.partitions_at_least <= limits.partitions]
        self._kinds = kinds
        self._edges = np.cumsum([each.weight for each in kinds])
        chosen, kind_of = np.random.SeedSequence((seed, 1)).spawn(2)
        self._chosen = np.random.default_rng(chosen)
        self._kind_of = np.random.default_rng(kind_of)

    def after(
        self, values: Sequence[bytes], raw: npt.NDArray[np.object_] | None = None
    ) -> list[tuple[int, tuple[Value, ...]]]:
        """For about `share` of the values, ascending: its place, and what to send after it.

        Nothing is made from values that are not None in `raw`: they are no trades and quotes.
        """
        places = np.flatnonzero(self._chosen.random(len(values)) < self._share)
        if raw is not None:
            places = np.array([place for place in places if raw[place] is None], dtype=np.int64)
        drawn = self._kind_of.random(len(places)) * self._edges[-1]
        numbers = np.searchsorted(self._edges, drawn, side="right")
        return [
            (place, self._kinds[number].make(values[place], self._limits))
            for place, number in zip(places.tolist(), numbers.tolist(), strict=True)
        ]
