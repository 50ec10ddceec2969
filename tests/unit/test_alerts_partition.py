"""The alerts agent's state: any split and any restart give the same notifications."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.notify.settings import AlertSettings
from tables.alerts.partition import ROW_PREFIX, AlertsPartition
from tables.alerts.records import encoder
from tables.derived import DerivedConfiguration, load
from tables.partitioning import partition_of

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
RULES = AlertSettings(cool_down="10s", quiet_time="30s").rules("d", SECOND, 10 * SECOND)


def made(partitions: int = 1, partition: int = 0) -> AlertsPartition:
    configuration = DerivedConfiguration(partitions, "hash", 4_096, 10)
    return AlertsPartition(configuration, partition, RULES)


def batch(values: Sequence[bytes | None], times: Sequence[int], begin: int) -> RecordBatch:
    offsets = np.arange(begin, begin + len(values), dtype=np.int64)
    appended = np.array(times, dtype=np.int64)
    return RecordBatch("events", 0, begin, begin + len(values), values, offsets, appended)


def random_log(seed: int, count: int) -> list[tuple[bytes | None, int]]:
    """Events of some keys, silences, clocks, and records that are none; append times grow."""
    dice = random.Random(seed)
    now, log = START, list[tuple[bytes | None, int]]()
    for number in range(count):
        now += dice.randrange(0, 5 * SECOND)
        event = {
            "type": "alert",
            "alert_type": dice.choice(("quality.gap", "anomaly.score")),
            "key": dice.choice(("A", "B", "C")),
            "severity": dice.choice(("info", "warning", "critical")),
            "state": dice.choice(("firing", "firing", "resolved")),
            "title": f"event {number}",
            "event_time": now - dice.randrange(0, 2 * SECOND),
        }
        silence = {
            "type": "silence",
            "id": dice.choice("xy"),
            "alert_type": "quality.*",
            "key": "*",
            "until": now + 20 * SECOND,
        }
        late = {**event, "event_time": now + 100 * SECOND}
        clock = {"type": "clock", "event_time": now}
        chosen = dice.choices((event, silence, clock, late, None), (20, 1, 3, 1, 1))[0]
        bad = dice.choice((None, b"", b"{}", b"{broken"))
        log.append((bad if chosen is None else encoder.encode(chosen), now))
    return log


def outputs(
    state: AlertsPartition, store: dict[bytes, bytes]
) -> dict[str, list[tuple[object, ...]]]:
    """Take a checkpoint into the store; return what it publishes."""
    taken = state.take("topic")
    for key, row in taken.rows:
        if row is None:
            store.pop(key, None)
        else:
            store[key] = row
    state.stored()
    return {name: [tuple(each) for each in rows] for name, rows in taken.outputs.items()}


def restored(store: dict[bytes, bytes]) -> AlertsPartition:
    rows = [(key, row) for key, row in sorted(store.items()) if key[:1] == ROW_PREFIX]
    return load(made(), "topic", store.get, rows)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_split_and_any_restart_publish_the_same(seed: int) -> None:
    dice = random.Random(seed)
    log = random_log(seed, dice.randrange(1, 120))
    values, times = [value for value, _ in log], [time for _, time in log]
    whole = made()
    whole.begin(0)
    whole.apply(batch(values, times, 0))
    wanted = outputs(whole, {})
    store: dict[bytes, bytes] = {}
    found: dict[str, list[tuple[object, ...]]] = {}
    state, begin = made(), 0
    state.begin(0)
    while begin < len(log):
        end = min(len(log), begin + dice.choice((1, 3, 20)))
        state.apply(batch(values[begin:end], times[begin:end], begin))
        for name, rows in outputs(state, store).items():
            found.setdefault(name, []).extend(rows)
        begin = end
        if dice.random() < 0.5:
            state = restored(store)
            assert state.next == begin
    assert found == wanted
    assert state.counts == whole.counts
    assert sum(state.counts.values()) == len(log)


def test_an_event_of_another_partition_is_dead() -> None:
    key = next(text for text in "ABCDEFGH" if partition_of(text.encode(), 2) == 1)
    event = {
        "type": "alert",
        "alert_type": "a.b",
        "key": key,
        "severity": "info",
        "state": "firing",
        "title": "t",
        "event_time": START,
    }
    state = made(2, 0)
    state.begin(0)
    state.apply(batch([encoder.encode(event)], [START], 0))
    assert state.dead_reasons == {"wrong_partition": 1}
    assert state.counts["dead"] == 1


def firing(seconds: float, **more: object) -> bytes:
    fields = {
        "alert_type": "quality.gap",
        "key": "A",
        "severity": "warning",
        "title": "t",
        "event_time": START + round(seconds * SECOND),
    }
    return encoder.encode(fields | more)


def test_the_clock_is_asked_for_when_something_waits_for_it_and_not_before() -> None:
    state = made()
    assert state.clock_due(100 * SECOND) is None
    state.begin(0)
    assert state.clock_due(100 * SECOND) is None
    state.apply(batch([firing(0), firing(1)], [START, START + SECOND], 0))
    # One was told at once, the other waits for the end of the cool-down.
    assert state.clock_due(9 * SECOND - 1) is None
    due = state.clock_due(9 * SECOND)
    assert due == START + 10 * SECOND
    clock = b'{"type":"clock","event_time":%d}' % due
    state.apply(batch([clock], [due], 2))
    told = [each.value or b"" for each in state.take("topic").outputs["notifications"]]
    assert [(b'"action":"repeat"' in each) for each in told] == [False, True]
    # Then its end is due, 30 s after it was last heard of, and after that nothing.
    assert state.clock_due(20 * SECOND) is None
    due = state.clock_due(21 * SECOND)
    assert due == START + 31 * SECOND
    state.apply(batch([b'{"type":"clock","event_time":%d}' % due], [due], 3))
    (last,) = state.take("topic").outputs["notifications"]
    assert b'"action":"resolve"' in (last.value or b"")
    assert state.clock_due(10**18) is None
    assert state.rows == 0


def test_the_clock_is_asked_for_when_a_group_waits() -> None:
    rules = AlertSettings(group_wait="5s").rules("d", SECOND, 10 * SECOND)
    state = AlertsPartition(DerivedConfiguration(1, "hash", 4_096, 10), 0, rules)
    state.begin(0)
    state.apply(batch([firing(0), firing(0, key="B")], [START, START], 0))
    assert state.clock_due(5 * SECOND - 1) is None
    assert state.clock_due(6 * SECOND) == START + 6 * SECOND


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_quiet_log_is_told_to_its_end_by_the_clock_records_that_are_asked_for(seed: int) -> None:
    log = random_log(seed, 60)
    asked, whole = made(), made()
    for state in (asked, whole):
        state.begin(0)
        state.apply(batch([value for value, _ in log], [time for _, time in log], 0))
    offset = len(log)
    while (due := asked.clock_due(3_600 * SECOND)) is not None:
        asked.apply(batch([b'{"type":"clock","event_time":%d}' % due], [due], offset))
        offset += 1
        assert offset < len(log) + 20
    # As with one record far behind all that waits.
    end = START + 10**6 * SECOND
    whole.apply(batch([b'{"type":"clock","event_time":%d}' % end], [end], len(log)))
    assert outputs(asked, {}) == outputs(whole, {})
    assert asked.rows == 0
