"""Every bad value to every derived agent's partition: it is dead, and changes nothing else.

With the agents of windowed bars left out, which have tests/broker/test_engine_bad_input.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.contracts.reasons import REASONS
from app.setting_groups import MarketSettings
from app.topics import AGENT_TOPICS, WINDOWED
from tables.rows import MARKER_KEY, decode_marker
from tests.unit.bad_logs import corrupted, interleaved
from tests.unit.bad_records import SHAPES, bad_records
from tests.unit.bad_values import Bad, Value, changed, sample
from tests.unit.derived_feeding import Fed, Placed, buries, settings_of
from tests.unit.good_records import ABSENT, DERIVED, GOOD, PARTITIONS, SECOND

#: Long after all that is good, in ns.
APPENDED = 1_800_000_000 * SECOND
#: Records of a batch: no divisor of anything.
BATCH = 97


def placed(values: Sequence[Value], first: int = 0) -> list[Placed]:
    return [(first + number, APPENDED, value) for number, value in enumerate(values)]


def letters(fed: Fed) -> list[tuple[int, Value, dict[str, bytes]]]:
    """Offset, value and headers of each dead letter."""
    found = []
    for key, value, headers in fed.published.get("dead", ()):
        assert key is None
        named = dict(headers)
        assert len(named) == len(headers)
        found.append((int(named["offset"]), value, named))
    return found


def headers_of(fed: Fed, offset: int, reason: str) -> dict[str, bytes]:
    return {
        "reason": reason.encode(),
        "topic": fed.stage.source.encode(),
        "partition": b"%d" % fed.partition,
        "offset": b"%d" % offset,
    }


def fed_with(
    agent: str, partition: int, records: Sequence[Placed], batch: int | None = None
) -> Fed:
    """Fed with records, at once or so many offsets a batch, with a restart after each."""
    fed = Fed(agent, partition)
    step = batch or records[-1][0] + 1
    for begin in range(0, records[-1][0] + 1, step):
        fed.take([each for each in records if begin <= each[0] < begin + step])
        fed.restart()
    return fed


def assert_same(fed: Fed, alone: Fed, dead: int) -> None:
    """Nothing but the dead letters, and how many they are, tells the two apart."""
    assert fed.alive == alone.alive
    assert fed.content == alone.content
    assert fed.counts == alone.counts | {"dead": dead}
    marker, other = (decode_marker(each.rows[MARKER_KEY]) for each in (fed, alone))
    assert (marker.maximum, marker.details) == (other.maximum, other.details)


def test_every_topic_that_a_derived_agent_reads_has_good_and_bad_records() -> None:
    sources = {AGENT_TOPICS[agent].source for agent in DERIVED}
    assert {*DERIVED, *WINDOWED, *ABSENT} == set(AGENT_TOPICS)
    assert sources == set(GOOD) == set(SHAPES)
    for source in sources:
        for partition in range(PARTITIONS):
            assert {bad.reason for bad in bad_records(source, partition)} <= set(REASONS)


@pytest.mark.parametrize("agent", DERIVED)
def test_each_bad_value_is_dead_and_changes_no_row(agent: str) -> None:
    wrong = refused_wrongly(agent, bad_records(AGENT_TOPICS[agent].source, 1))
    assert not wrong, wrong


def refused_wrongly(agent: str, bad_ones: Sequence[Bad]) -> list[tuple[str, str, object]]:
    """Bad values, taken one by one behind good ones, that are not dead or change anything."""
    partition = 1
    good = GOOD[AGENT_TOPICS[agent].source](partition)[:-1]
    fed = Fed(agent, partition)
    fed.take(placed(good))
    fed.checkpoint()
    before, published, counts = fed.content, str(fed.alive), fed.counts
    assert counts["dead"] == 0
    wrong: list[tuple[str, str, object]] = []
    offset = len(good)
    for bad in bad_ones:
        told = len(letters(fed))
        reasons = dict(fed.state.progress.dead)
        fed.take(placed(bad.values, offset))
        fed.checkpoint()
        counts["dead"] += len(bad.values)
        reasons[bad.reason] = reasons.get(bad.reason, 0) + len(bad.values)
        same = (fed.content, str(fed.alive), fed.counts) == (before, published, counts)
        expected = [
            (place, value, headers_of(fed, place, bad.reason))
            for place, value in enumerate(bad.values, offset)
        ]
        offset += len(bad.values)
        if (
            not same
            or fed.state.progress.dead != reasons
            or (buries(agent) and letters(fed)[told:] != expected)
        ):
            wrong.append((bad.name, bad.reason, letters(fed)[told:]))
            before, published, counts = fed.content, str(fed.alive), fed.counts
    return wrong


@pytest.mark.parametrize("partition", range(PARTITIONS))
@pytest.mark.parametrize("agent", DERIVED)
def test_good_records_among_all_bad_ones_come_to_what_they_come_to_alone(
    agent: str, partition: int
) -> None:
    source = AGENT_TOPICS[agent].source
    log = interleaved(GOOD[source](partition), bad_records(source, partition))
    records = placed([value for value, _ in log])
    fed = fed_with(agent, partition, records, BATCH)
    assert any(fed.alive.values())
    good = [record for record, (_, reason) in zip(records, log, strict=True) if not reason]
    assert_same(fed, fed_with(agent, partition, good, BATCH), len(log) - len(good))
    if buries(agent):
        assert letters(fed) == [
            (offset, value, headers_of(fed, offset, reason))
            for offset, (value, reason) in enumerate(log)
            if reason
        ]


@pytest.mark.parametrize("partition", range(PARTITIONS))
@pytest.mark.parametrize("agent", DERIVED)
def test_what_is_dead_of_a_corrupted_log_changes_nothing(agent: str, partition: int) -> None:
    log = corrupted(AGENT_TOPICS[agent].source, partition, share=0.2)
    records = placed([value for value, _ in log])
    fed = Fed(agent, partition)
    dead = [record for record in records if fed.is_dead(record)]
    fed.restart()
    alive = [each for each in records if each not in dead]
    assert_same(fed, fed_with(agent, partition, alive), len(dead))
    intact = {offset for offset, (_, is_intact) in enumerate(log) if is_intact}
    assert not intact & {offset for offset, _, _ in dead}
    assert len(dead) > (len(log) - len(intact)) / 2
    if buries(agent):
        wanted = [(offset, value) for offset, _, value in dead]
        found = [(offset, value) for offset, value, _ in letters(fed)]
        assert [each for each in found if each in wanted] == wanted
        # What was taken, and refused when its turn came, is told of as well.
        assert len(found) - len(wanted) == fed.state.progress.ignored.get("refused", 0)


@pytest.mark.parametrize("agent", DERIVED)
def test_of_a_field_that_comes_twice_the_last_value_holds(agent: str) -> None:
    source = AGENT_TOPICS[agent].source
    shape, record = SHAPES[source], sample(source, 0)
    plain = changed(record)
    alone = fed_with(agent, 0, placed([plain]))
    for field in (shape.name, shape.time, *shape.prices):
        before = b'"A"' if isinstance(record[field], str) else b"1"
        fed = fed_with(agent, 0, placed([b'{"%s":%s,%s' % (field.encode(), before, plain[1:])]))
        assert (fed.counts, fed.content) == (alone.counts, alone.content), field
        fed = fed_with(agent, 0, placed([b'{"%s":[],%s' % (field.encode(), plain[1:])]))
        assert fed.counts["dead"] == 1, field


@pytest.mark.parametrize("agent", DERIVED)
def test_times_before_a_calendar_begins_are_taken(agent: str) -> None:
    source = AGENT_TOPICS[agent].source
    shape, record = SHAPES[source], sample(source, 0)
    chosen = settings_of(agent).model_copy(update={"markets": MarketSettings(calendar="XNYS")})
    fed = Fed(agent, 0, chosen)
    # The first day that is not refused, and the end of a day of the minutes that bars have.
    times = (631_152_000 * SECOND, 631_152_000 * SECOND + 86_340 * SECOND)
    fed.take(placed([changed(record, **{shape.time: time}) for time in times]))
    fed.restart()
    fed.take(placed(GOOD[source](0), len(times)))
    fed.restart()
    assert fed.counts["dead"] == 0
