"""Features against the independent reference: random logs of trades and quotes, any split."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from models.features import FeaturesConfiguration, QuoteFeatures, TradeFeatures
from tests.oracle.features_reference import Record, Settings, features, taken
from tests.unit.bars_log import configuration

SECOND = 1_000_000_000
QUARTER = SECOND // 4
START = 1_700_000_000 * SECOND
DAY = 7 * 60 * SECOND
Stage = TradeFeatures | QuoteFeatures
KINDS: dict[str, type[Stage]] = {"trades": TradeFeatures, "quotes": QuoteFeatures}


def day_of(time: int) -> int:
    """Days of seven minutes, so that logs cross them."""
    return time // DAY


def settings_of(**changes: Any) -> FeaturesConfiguration:
    """Windows of 5 min with a short gap, one partition."""
    return FeaturesConfiguration(configuration(), gap=20 * SECOND, **changes)


def random_log(kind: str, seed: int, count: int) -> list[Record]:
    """Records in disorder, some of it beyond the grace, with gaps, clocks and repetitions."""
    rng = random.Random(seed)
    now, log = START, list[Record]()
    pace = rng.choice((0.1, 1.0, 8.0))
    price = rng.choice((100.0, 0.5, -1.0))
    for offset in range(count):
        # In quarters of a second, so that times are often the same, and that of the watermark.
        now += int(rng.expovariate(1 / pace) * 4) * QUARTER + rng.choice(
            (0,) * 30 + (400 * SECOND,)
        )
        append = now // 1_000_000 * 1_000_000 + rng.choice((0, 0, -3 * SECOND, 2 * SECOND))
        if rng.random() < 0.03:
            value: dict[str, Any] = {"type": "clock", "event_time": now + SECOND}
        elif rng.random() < 0.04 and log and log[-1].value.get("type") is None:
            value = dict(log[-1].value)
        else:
            price += rng.choice((0, 0, 0.01, -0.01, 1 / 3))
            behind = rng.choice((0, 0, rng.randrange(5), rng.randrange(16))) * QUARTER
            value = {"symbol": rng.choice("AAB"), "event_time": now - behind}
            if kind == "trades":
                value |= {"price": price, "size": rng.choice((0.0, 1.0, 100.0, 0.1))}
                if rng.random() < 0.5:
                    value["trade_id"] = str(rng.randrange(20))
            else:
                ask = price + rng.choice((0.0, 0.01, 0.5, -0.01))
                value |= {"bid": price, "ask": ask, "bid_size": rng.choice((0.0, 3.0, 100.0))}
                value["ask_size"] = rng.choice((0.0, 7.0))
            if rng.random() < 0.5:
                value["sequence"] = rng.randrange(4)
        log.append(Record(offset, append, value))
    return log


def batch_of(part: Sequence[Record], more: bytes | None = None) -> RecordBatch:
    """Records as a fetch, with one more value at the end."""
    values = [json.dumps(record.value).encode() for record in part]
    offsets, appends = [each.offset for each in part], [each.append_time for each in part]
    if more is not None:
        values.append(more)
        offsets.append(offsets[-1] + 1 if offsets else 0)
        appends.append(appends[-1] if appends else START)
    return RecordBatch(
        "input", 0, offsets[0], offsets[-1] + 1, values,
        np.array(offsets, dtype=np.int64), np.array(appends, dtype=np.int64),
    )  # fmt: skip


def restarted(stage: Stage, store: dict[str, bytes], config: FeaturesConfiguration) -> Stage:
    """The stage as built again from its stored rows, without its outputs."""
    store |= {name: msgspec.msgpack.encode(row) for name, row in stage.take_changes()}
    header = msgspec.msgpack.decode(msgspec.msgpack.encode(stage.header()))
    again = type(stage)(config, 0, day_of, header)
    for name, row in store.items():
        again.restore(name, msgspec.msgpack.decode(row))
    again.outputs = stage.outputs
    return again


def run(
    kind: str, log: Sequence[Record], rng: random.Random | None, config: FeaturesConfiguration
) -> Stage:
    """The log, then a flush; in one batch, or in any with restarts between them."""
    stage = KINDS[kind](config, 0, day_of)
    store: dict[str, bytes] = {}
    begin = 0
    while rng is not None and begin < len(log):
        size = rng.choice((1, 3, 20, 200))
        stage.apply(batch_of(log[begin : begin + size]))
        begin += size
        if rng.random() < 0.3:
            stage = restarted(stage, store, config)
    stage.apply(batch_of(log[begin:], b'{"type":"flush"}'))
    return stage


def found(stage: Stage) -> dict[tuple[str, str, int], tuple[int, bool, dict[str, Any]]]:
    """What was published, by identity, each once."""
    records = [json.loads(record.value or b"") for record in stage.outputs["features"]]
    by_key = {
        (each["symbol"], each["window"], each["start"]): (
            each["end"], each["complete"], each["values"],
        )
        for each in records
    }  # fmt: skip
    assert len(by_key) == len(records)
    return by_key


def same(one: float | None, two: float | None) -> bool:
    """Equal up to the rounding of a sum."""
    if one is None or two is None:
        return one is two
    return math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-10)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(("trades", "quotes")))
def test_every_window_holds_what_the_reference_finds(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    log = random_log(kind, seed, rng.choice((1, 40, 250)))
    stage = run(kind, log, rng, settings_of())
    rules = Settings(gap=20 * SECOND, day_of=day_of)
    records, late, repeated = taken(log, rules)
    assert stage.counts["late"] == late == len(stage.outputs["late"])
    assert stage.counts["duplicate"] == repeated
    assert stage.counts["applied"] == len(records)
    assert sum(stage.counts.values()) == len(log) + 1
    expected, published = features(records, rules), found(stage)
    assert published.keys() == expected.keys()
    for key, (end, complete, values) in expected.items():
        assert published[key][:2] == (end, complete)
        got = published[key][2]
        assert got.keys() == values.keys()
        wrong = [name for name in values if not same(values[name], got[name])]
        assert not wrong, [(key, name, values[name], got[name]) for name in wrong]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(("trades", "quotes")))
def test_every_split_and_restart_publishes_the_same_bytes(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    log = random_log(kind, seed, rng.choice((40, 250)))
    config = settings_of(max_pending=rng.choice((3, 100_000)))
    whole, split = run(kind, log, None, config), run(kind, log, rng, config)
    assert split.outputs == whole.outputs
    assert split.counts == whole.counts


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(("trades", "quotes")))
def test_the_order_of_arrival_within_the_grace_does_not_matter(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    log = [
        Record(0, record.append_time, record.value | {"sequence": place})
        for place, record in enumerate(random_log(kind, seed, 120))
        if "symbol" in record.value and "trade_id" not in record.value
    ]
    log.sort(key=lambda each: each.time)
    # None comes after one that is a second later.
    mixed = sorted(log, key=lambda each: each.time + rng.randrange(SECOND))

    def published(records: list[Record]) -> list[bytes | None]:
        numbered = [Record(place, START + 10**15, each.value) for place, each in enumerate(records)]
        stage = run(kind, numbered, rng, settings_of())
        assert stage.counts["late"] == 0
        return [
            record.value for record in stage.outputs["features"] if b'"day"' not in record.value
        ]

    assert published(mixed) == published(log)
