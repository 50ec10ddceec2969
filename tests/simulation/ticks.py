"""What is in the log of a partition: the unit tests' random log, and what only faults bring out.

Some have corrections and cancels. Added: symbols that are seldom (a partition has six), prices and
sizes whose sum depends on the order of its terms, bursts of one append time, and ids that are sent
again when they are about to be forgotten, or just were. Of some partitions a part, or all, is
MessagePack.
"""

from __future__ import annotations

import random

from app.contracts.forms import pack
from tests.simulation.plan import Plan
from tests.unit.bars_log import CONDITIONS, SECOND, SYMBOLS, in_partition, random_log, trade

#: Partitions of each source topic.
PARTITIONS = 2
#: Correction horizon and grace of the simulated deployment, ns.
HORIZON, GRACE = 30 * SECOND, SECOND
_MILLISECOND = 1_000_000
_NAMES = [f"S{number}" for number in range(200)]
#: Their sums in doubles depend on the order.
_AWKWARD = (0.1, 0.2, 0.3, 1e6 / 3, 123456.789, 1e-9, 7e8)


def symbols_of(partition: int) -> list[str]:
    """Six symbols that belong to the partition."""
    return [name for name in _NAMES if in_partition(name, PARTITIONS, partition)][:6]


def source_log(plan: Plan, partition: int) -> list[tuple[bytes | None, int]]:
    """(value, earliest append time in ms) of a partition's records, without those left out."""
    dice = plan.dice(f"log {partition}")
    names = symbols_of(partition)
    popular = dice.choice((1, 3, 6))
    # Corrections name a trade by its symbol too: then every symbol has one name of its own.
    corrections = dice.choice((0.0, 0.0, 0.03, 0.1))
    base = random_log(dice.randrange(2**32), 60, corrections=corrections)
    known: list[tuple[str, str, int]] = []
    log: list[tuple[bytes | None, int]] = []
    for value, append in base:
        chosen = names if corrections else [_one_of(dice, names, popular)] * len(SYMBOLS)
        # Some keep a symbol of the unit tests, which may belong to the other partition.
        if value is not None and dice.random() >= 0.02:
            value = _renamed(value, chosen)
        log.append((value, append // _MILLISECOND))
        if dice.random() < 0.06:
            log += _burst(dice, names, append)
        if dice.random() < 0.25:
            log.append(_identified(dice, names, append, known))
    forms = plan.dice(f"forms {partition}")
    share = forms.choice((0.0, 0.0, 0.5, 1.0))
    log = [
        (pack(value) if value and forms.random() < share else value, append)
        for value, append in log
    ]
    return [
        entry for number, entry in enumerate(log[: plan.records]) if number not in plan.skip_records
    ]


def _one_of(dice: random.Random, names: list[str], popular: int) -> str:
    """One of the popular symbols, mostly."""
    return names[dice.randrange(popular)] if dice.random() < 0.8 else dice.choice(names)


def _renamed(value: bytes, names: list[str]) -> bytes:
    for symbol, name in zip(SYMBOLS, names, strict=False):
        value = value.replace(b'"symbol":"%s"' % symbol.encode(), b'"symbol":"%s"' % name.encode())
    return value


def _burst(dice: random.Random, names: list[str], append: int) -> list[tuple[bytes | None, int]]:
    symbol = dice.choice(names)
    found: list[tuple[bytes | None, int]] = []
    for _ in range(dice.randint(3, 10)):
        time = append - int(dice.random() ** 2 * 3 * SECOND)
        value = trade(symbol, dice.choice(_AWKWARD), dice.choice(_AWKWARD), time)
        found.append((value, append // _MILLISECOND))
    return found


def _identified(
    dice: random.Random, names: list[str], append: int, known: list[tuple[str, str, int]]
) -> tuple[bytes | None, int]:
    """A record with an id: new, or one that is remembered still, just not, or long forgotten."""
    near = [each for each in known if _is_near(each[2], append)]
    if known and dice.random() < 0.6:
        symbol, identity, _ = dice.choice(near or known)
    else:
        # Texts, numbers, and numbers that are texts of other bytes.
        kind = ("i{}", "{}", "0{}", "00{}")[len(known) % 4]
        symbol, identity = dice.choice(names), kind.format(len(known) // 4)
        known.append((symbol, identity, append))
    value = trade(
        symbol, dice.choice(_AWKWARD), 100.0, append, trade_id=identity,
        conditions=dice.choice(CONDITIONS),
    )  # fmt: skip
    return value, append // _MILLISECOND


def _is_near(seen: int, now: int) -> bool:
    """Whether an id first seen then is forgotten about now: within 3 s of the watermark's."""
    forgotten = (seen // (60 * SECOND) + 1) * 60 * SECOND + GRACE + HORIZON
    return abs(forgotten - (now - GRACE)) < 3 * SECOND
