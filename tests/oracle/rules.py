"""Small rules that the reference follows: partitioner, exact numbers, policies, session times.

Nothing here comes from the engine: murmur2 is written from Kafka's description of it, the
policies from app/README.md, the sums with Python's unbounded integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
_UINT32 = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (seed 0x9747b28c) as an unsigned 32-bit number."""
    multiplier = 0x5BD1E995
    hashed = (0x9747B28C ^ len(data)) & _UINT32
    whole = len(data) // 4 * 4
    for place in range(0, whole, 4):
        word = int.from_bytes(data[place : place + 4], "little")
        word = word * multiplier & _UINT32
        word ^= word >> 24
        word = word * multiplier & _UINT32
        hashed = hashed * multiplier & _UINT32
        hashed ^= word
    rest = data[whole:]
    if rest:
        hashed ^= int.from_bytes(rest, "little")
        hashed = hashed * multiplier & _UINT32
    hashed ^= hashed >> 13
    hashed = hashed * multiplier & _UINT32
    hashed ^= hashed >> 15
    return hashed


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


GRID = 2**40


def on_grid(value: float) -> int:
    """A double in units of 2^-40, rounded once, half to even."""
    numerator, denominator = value.as_integer_ratio()
    whole, rest = divmod(numerator * GRID, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1):
        whole += 1
    return whole


def off_grid(units: int) -> float:
    """Units of 2^-40 as the nearest double (division of integers rounds once, half to even)."""
    return units / GRID


@dataclass(frozen=True)
class Flags:
    """What one record may set in the bars of one interval class."""

    extremes: bool
    last: bool
    volume: bool

    @property
    def any(self) -> bool:
        """Whether the record is used at all."""
        return self.extremes or self.last or self.volume


NOTHING = Flags(False, False, False)
EVERYTHING = Flags(True, True, True)
VOLUME_ONLY = Flags(False, False, True)

#: (conditions, interval length in ns) -> flags.
Policy = Callable[[frozenset[str], int], Flags]


def policy_all(conditions: frozenset[str], length: int) -> Flags:
    """Every flag, every record."""
    return EVERYTHING


def policy_sip(matrix: Mapping[str, Flags]) -> Policy:
    """The consolidated tape's matrix, given as condition -> flags: the strictest decides."""

    def rule(conditions: frozenset[str], length: int) -> Flags:
        rows = [matrix[condition] for condition in conditions]
        return Flags(
            all(row.extremes for row in rows),
            all(row.last for row in rows),
            all(row.volume for row in rows),
        )

    return rule


_AUCTIONS = frozenset({"opening_print", "closing_print"})
_OFFICIAL = frozenset({"market_center_official_open", "market_center_official_close"})
_NO_PRICE = (
    frozenset({"iso", "derivatively_priced", "stock_option", "average_price", "reopening_print"})
    | _AUCTIONS
    | _OFFICIAL
)


def policy_algoseek(conditions: frozenset[str], length: int) -> Flags:
    """The rule of the recorded equity bars; intervals below 1 min are class *second*."""
    if "suspicious" in conditions:
        return NOTHING
    class_second = length < MINUTE
    price = "extended_hours" in conditions or not conditions & _NO_PRICE
    if not class_second and conditions & _AUCTIONS:
        price = True
    volume = not conditions & _OFFICIAL
    if class_second and conditions & _AUCTIONS:
        volume = False
    return Flags(price, price, volume)


class Sessions:
    """Local dates and session ends of event times in ns."""

    def __init__(self, timezone: str, session_end: int) -> None:
        zone = ZoneInfo(timezone)
        seconds = session_end // SECOND
        clock = time(seconds // 3600, seconds // 60 % 60, seconds % 60)

        # Every zone's offset changes at whole minutes.
        @cache
        def date_of_minute(minute: int) -> date:
            return datetime.fromtimestamp(minute * 60, tz=UTC).astimezone(zone).date()

        @cache
        def end_of_date(day: date) -> int:
            return int(datetime.combine(day, clock, tzinfo=zone).timestamp()) * SECOND

        self._date_of_minute = date_of_minute
        self._end_of_date = end_of_date

    def date_of(self, moment: int) -> date:
        """The local date of an event time."""
        return self._date_of_minute(moment // MINUTE)

    def end_of_date(self, moment: int) -> int:
        """The session end of an event time's local date, in ns since the epoch."""
        return self._end_of_date(self.date_of(moment))
