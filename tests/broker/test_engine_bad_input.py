"""Every line of the list of bad input, between good neighbours in one producer batch."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.broker import EmbeddedBroker
from app.topics import ticks_topic
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    Read,
    Value,
    assert_exact,
    bars_of,
    markers,
    prepared,
    read_output,
    read_topic,
    send,
    symbol_of,
    trade,
    wait_drained,
)

pytestmark = pytest.mark.broker

PARTITIONS = 2
GOOD = symbol_of(0, PARTITIONS)
ELSEWHERE = symbol_of(1, PARTITIONS)
LIMIT = 64 * 1024 // 2


def altered(**fields: object) -> bytes:
    """A good trade with other fields."""
    return json.dumps(json.loads(trade(GOOD, START)) | fields).encode()


def raw(name: str, text: str) -> bytes:
    """A good trade with a field written as this text."""
    return altered(**{name: "@"}).replace(b'"@"', text.encode())


WITHOUT_SYMBOL = json.dumps({"price": 1.0, "size": 1.0, "event_time": START}).encode()
WHOLE = trade(GOOD, START)
#: Line of the list: values in a row, and the reason of each.
BAD: dict[str, tuple[list[Value], str]] = {
    "JSON that is not JSON": ([b"{symbol: 1}"], "malformed"),
    "no text at all": ([b"\xff\xfe\x00"], "malformed"),
    "neighbours that only together are JSON": ([WHOLE[:30], WHOLE[30:]], "malformed"),
    "neighbours that a comma would join": ([b"[" + WHOLE, WHOLE + b"]"], "malformed"),
    "two objects in one value": ([WHOLE + WHOLE], "malformed"),
    "two objects with a comma": ([WHOLE + b"," + WHOLE], "malformed"),
    "two objects on two lines": ([WHOLE + b"\n" + WHOLE], "malformed"),
    "negative size": ([altered(size=-1.0)], "malformed"),
    "NaN": ([raw("price", "NaN")], "malformed"),
    "infinity": ([raw("price", "Infinity")], "malformed"),
    "negative infinity": ([raw("size", "-Infinity")], "malformed"),
    "infinity by its exponent": ([raw("price", "1e999")], "malformed"),
    "huge integer as a time": ([raw("event_time", "9" * 400)], "malformed"),
    "huge integer as a price": ([raw("price", "9" * 400)], "malformed"),
    "beyond 64 bits": ([raw("sequence", str(2**64))], "malformed"),
    "missing symbol": ([WITHOUT_SYMBOL], "malformed"),
    "event time before 1990": ([altered(event_time=631_151_999 * SECOND)], "event_time_too_early"),
    "event time in the far future": ([altered(event_time=2**62)], "event_time_too_late"),
    "symbol of another partition": ([altered(symbol=ELSEWHERE)], "wrong_partition"),
    "symbol outside the alphabet": ([altered(symbol="a b")], "bad_symbol"),
    "unknown condition": ([altered(conditions=["full_moon"])], "unknown_condition"),
    "empty value": ([b""], "empty"),
    "null value": ([None], "null"),
    "value above the limit": ([WHOLE + b" " * (LIMIT + 1 - len(WHOLE))], "too_large"),
}


@dataclass
class Outcome:
    """The run of all lines: each is between two good trades of a second of its own."""

    topic: str
    log: list[Read]
    dead: dict[int, Read]
    bars: dict[int, dict[str, Any]]
    counts: dict[str, int]

    def offset_of(self, line: str) -> int:
        """Where the line's first bad record is: mark, then three or four records a line."""
        before = list(BAD)[: list(BAD).index(line)]
        return 2 + sum(2 + len(BAD[each][0]) for each in before)


@pytest.fixture(scope="module")
def outcome(kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One worker reads all of it."""
    folder = tmp_path_factory.mktemp("bad")
    return asyncio.run(run(kafka, folder))


def second_of(line: str) -> int:
    """Start of the line's own second."""
    return START + list(BAD).index(line) * 2 * SECOND


async def run(kafka: EmbeddedBroker, folder: Path) -> Outcome:
    topics = {"partitions": PARTITIONS, "max_message_bytes": 2 * LIMIT}
    settings = await prepared(
        worker_settings(kafka, f"bad-{folder.name}-{id(folder):x}", folder, topics=topics)
    )
    await send(settings, {0: [HISTORICAL], 1: [HISTORICAL, FLUSH]})
    async with WorkerProcess(settings) as worker:
        for line, (values, _) in BAD.items():
            before = trade(GOOD, second_of(line), 1.0)
            after = trade(GOOD, second_of(line) + SECOND // 2, 2.0)
            await send(settings, {0: [before, *values, after]})
        await send(settings, {0: [FLUSH]})
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)
    dead = (await read_output(settings, "bars.dead"))[0]
    return Outcome(
        ticks_topic(settings),
        (await read_topic(settings, ticks_topic(settings)))[0],
        {int(dict(each.headers)["offset"]): each for each in dead},
        {bar["start"]: bar for bar in await bars_of(settings) if bar["interval"] == "1s"},
        (await markers(settings))[0].counts,
    )


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_set_aside_and_its_neighbours_go_on(outcome: Outcome, line: str) -> None:
    values, reason = BAD[line]
    first = outcome.offset_of(line)
    for offset, value in enumerate(values, first):
        record = outcome.dead[offset]
        assert record.value == value == outcome.log[offset].value
        assert dict(record.headers) == {
            "reason": reason.encode(),
            "topic": outcome.topic.encode(),
            "partition": b"0",
            "offset": b"%d" % offset,
        }
    for offset in (first - 1, first + len(values)):
        assert offset not in outcome.dead
    bar = outcome.bars[second_of(line)]
    assert (bar["open"], bar["close"], bar["trades"], bar["revision"]) == (1.0, 2.0, 2, 0)


def test_outcomes_add_up_to_the_records_read(outcome: Outcome) -> None:
    assert sum(outcome.counts.values()) == len(outcome.log)
    assert outcome.counts["dead"] == sum(len(values) for values, _ in BAD.values())
    assert outcome.counts["dead"] == len(outcome.dead)
    assert outcome.counts["applied"] == 2 * len(BAD)
    assert outcome.counts["control"] == 2
