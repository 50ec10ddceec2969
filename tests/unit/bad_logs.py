"""Logs with good and bad records: the whole list between the good ones, or a share corrupted."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from app.feeds.corrupt import Corrupter, Limits
from app.feeds.files import Kind
from tests.unit.bad_records import SHAPES
from tests.unit.bad_values import Bad, Value, is_data
from tests.unit.good_records import GOOD, PARTITIONS

#: Topics that app/feeds/corrupt.py has bad records of.
CORRUPTED: Mapping[str, Kind] = {"ticks": "trades", "quotes": "quotes"}


def interleaved(good: Sequence[bytes], bad: Sequence[Bad]) -> list[tuple[Value, str]]:
    """All that is bad spread over the good: values, and the reason of each, "" for the good."""
    log: list[tuple[Value, str]] = []
    taken = 0
    for number, value in enumerate(good, 1):
        log.append((value, ""))
        until = len(bad) * number // len(good)
        log += [(each, group.reason) for group in bad[taken:until] for each in group.values]
        taken = until
    return log


def mangled(value: bytes, dice: random.Random) -> bytes:
    """A value that something went wrong with on the way; it may still be a record."""
    begin = dice.randrange(len(value))
    end = min(len(value), begin + dice.randrange(1, 9))
    damage = dice.choice(("bit", "cut", "lost", "noise", "twice", "digit"))
    if damage == "bit":
        return value[:begin] + bytes([value[begin] ^ 1 << dice.randrange(8)]) + value[begin + 1 :]
    if damage == "cut":
        return value[:begin]
    if damage == "lost":
        return value[:begin] + value[end:]
    if damage == "noise":
        return value[:begin] + dice.randbytes(end - begin) + value[end:]
    if damage == "twice":
        return value[:end] + value[begin:]
    digits = [place for place, byte in enumerate(value) if byte in b"0123456789"] or [begin]
    place = dice.choice(digits)
    return value[:place] + b"9" * dice.randrange(1, 40) + value[place + 1 :]


def corrupted(source: str, partition: int, share: float = 0.05) -> list[tuple[Value, bool]]:
    """The good records, so many of them mangled; of `ticks` and `quotes` bad ones besides.

    Each value and whether it is as it was.
    """
    dice = random.Random(f"{source} {partition}")
    good = GOOD[source](partition)
    besides: dict[int, tuple[Value, ...]] = {}
    if source in CORRUPTED:
        limits = Limits(SHAPES[source].limit, PARTITIONS)
        data = [place for place, value in enumerate(good) if is_data(value)]
        corrupter = Corrupter(share, limits, partition, CORRUPTED[source])
        chosen = corrupter.after([good[each] for each in data])
        besides = {data[place]: values for place, values in chosen}
    log: list[tuple[Value, bool]] = []
    for place, value in enumerate(good):
        hit = dice.random() < share
        log.append((mangled(value, dice), False) if hit else (value, True))
        log += [(each, False) for each in besides.get(place, ())]
    return log
