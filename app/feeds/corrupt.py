"""Bad records on purpose: every kind that the engine must turn away, as a table.

They are sent besides the good ones and change nothing, so an export must equal that of the good
ones alone. Each kind is made from the bytes of a good trade.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

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
        make: consecutive values of one partition, from a good trade's bytes.
        weight: how often it is chosen, relative to the others.
        partitions_at_least: the kind needs so many partitions.
    """

    name: str
    reason: str
    make: Callable[[bytes, Limits], tuple[Value, ...]]
    weight: float = 1.0
    partitions_at_least: int = 1


def _changed(trade: bytes, **fields: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(trade), **fields})


def _raw(trade: bytes, name: str, text: bytes) -> bytes:
    """The trade with a field written as this text, which need not be JSON."""
    marked = _changed(trade, **{name: "\x00"})
    return marked.replace(b'"\\u0000"', text)


def _without(trade: bytes, name: str) -> bytes:
    fields = msgspec.json.decode(trade)
    del fields[name]
    return msgspec.json.encode(fields)


def _elsewhere(trade: bytes, limits: Limits) -> tuple[Value, ...]:
    """A symbol of another partition than the trade's."""
    here = partition_of(msgspec.json.decode(trade)["symbol"], limits.partitions)
    number = 0
    while partition_of(f"ELSEWHERE-{number}", limits.partitions) == here:
        number += 1
    return (_changed(trade, symbol=f"ELSEWHERE-{number}"),)


def _too_large(trade: bytes, limits: Limits) -> tuple[Value, ...]:
    return (trade + b" " * (limits.value_bytes + 1 - len(trade)),)


CORRUPTIONS: Final[tuple[Corruption, ...]] = (
    Corruption("null", "null", lambda trade, limits: (None,)),
    Corruption("empty", "empty", lambda trade, limits: (b"",)),
    Corruption("too_large", "too_large", _too_large, weight=0.002),
    Corruption("not_json", "malformed", lambda trade, limits: (b"\xff\x00 not JSON",)),
    Corruption("cut", "malformed", lambda trade, limits: (trade[: len(trade) // 2],)),
    Corruption(
        "halves",
        "malformed",
        lambda trade, limits: (trade[: len(trade) // 2], trade[len(trade) // 2 :]),
    ),
    Corruption("two_objects", "malformed", lambda trade, limits: (trade + trade,)),
    Corruption(
        "two_in_array", "malformed", lambda trade, limits: (b"[" + trade + b"," + trade + b"]",)
    ),
    Corruption("comma_joined", "malformed", lambda trade, limits: (trade + b"," + trade,)),
    Corruption("not_an_object", "malformed", lambda trade, limits: (b"42",)),
    Corruption("negative_size", "malformed", lambda trade, limits: (_changed(trade, size=-1.0),)),
    Corruption("nan", "malformed", lambda trade, limits: (_raw(trade, "price", b"NaN"),)),
    Corruption("infinity", "malformed", lambda trade, limits: (_raw(trade, "size", b"Infinity"),)),
    Corruption(
        "infinite_exponent", "malformed", lambda trade, limits: (_raw(trade, "price", b"1e999"),)
    ),
    Corruption(
        "huge_integer",
        "malformed",
        lambda trade, limits: (_raw(trade, "event_time", b"9" * 400),),
    ),
    Corruption(
        "beyond_64_bits",
        "malformed",
        lambda trade, limits: (_raw(trade, "event_time", str(2**63).encode()),),
    ),
    Corruption("missing_symbol", "malformed", lambda trade, limits: (_without(trade, "symbol"),)),
    Corruption("missing_price", "malformed", lambda trade, limits: (_without(trade, "price"),)),
    Corruption(
        "unknown_field", "malformed", lambda trade, limits: (_changed(trade, colour="red"),)
    ),
    Corruption("wrong_type", "malformed", lambda trade, limits: (_changed(trade, price="1"),)),
    Corruption("unknown_type", "malformed", lambda trade, limits: (b'{"type":"quote"}',)),
    Corruption(
        "unknown_condition",
        "unknown_condition",
        lambda trade, limits: (_changed(trade, conditions=["full_moon"]),),
    ),
    Corruption(
        "bad_symbol", "bad_symbol", lambda trade, limits: (_changed(trade, symbol="no good"),)
    ),
    Corruption(
        "too_early",
        "event_time_too_early",
        lambda trade, limits: (_changed(trade, event_time=TOO_EARLY),),
    ),
    Corruption(
        "far_future",
        "event_time_too_late",
        lambda trade, limits: (_changed(trade, event_time=TOO_LATE),),
    ),
    Corruption(
        "huge_notional",
        "notional_too_large",
        lambda trade, limits: (_changed(trade, price=1e12, size=1e12),),
    ),
    Corruption("other_partition", "wrong_partition", _elsewhere, partitions_at_least=2),
)


class Corrupter:
    """Inserts bad records after good ones, by a seed."""

    def __init__(self, share: float, limits: Limits, seed: int) -> None:
        self._share = share
        self._limits = limits
        kinds = [kind for kind in CORRUPTIONS if kind.partitions_at_least <= limits.partitions]
        self._kinds = kinds
        self._edges = np.cumsum([kind.weight for kind in kinds])
        chosen, kind_of = np.random.SeedSequence((seed, 1)).spawn(2)
        self._chosen = np.random.default_rng(chosen)
        self._kind_of = np.random.default_rng(kind_of)

    def after(self, values: Sequence[bytes]) -> list[tuple[int, tuple[Value, ...]]]:
        """For about `share` of the values, ascending: its place, and what to send after it."""
        places = np.flatnonzero(self._chosen.random(len(values)) < self._share)
        drawn = self._kind_of.random(len(places)) * self._edges[-1]
        numbers = np.searchsorted(self._edges, drawn, side="right")
        return [
            (place, self._kinds[number].make(values[place], self._limits))
            for place, number in zip(places.tolist(), numbers.tolist(), strict=True)
        ]
