"""`candlewick dead` against a running worker: letters are listed, shown, mended and resent."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.broker import EmbeddedBroker
from app.run.environment import settings_environment
from app.settings import Settings
from app.topics import ticks_topic
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    assert_exact,
    bars_of,
    markers,
    prepared,
    read_topic,
    send,
    symbol_of,
    trade,
    wait_drained,
)
from tests.command import Finished, candlewick, environment

pytestmark = pytest.mark.broker

PARTITIONS = 2
HERE, THERE = symbol_of(0, PARTITIONS), symbol_of(1, PARTITIONS)
#: A title of the terminal's window, and a colour.
EVIL = b'{"symbol":"' + HERE.encode() + b'","note":"\x1b]0;gone\x07\xff\x1b[31m"}'
MISPLACED = trade(THERE, START + 2 * SECOND, 7.0)
WRONG_FIELD = json.dumps(json.loads(trade(HERE, START + 3 * SECOND, 9.0)) | {"prize": 1}).encode()
MENDED = trade(HERE, START + 3 * SECOND, 9.0)


@dataclass
class Run:
    """What a user saw, step by step."""

    settings: Settings
    answers: dict[str, Finished] = field(default_factory=dict)
    log: dict[int, list[bytes | None]] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    bars: list[dict[str, Any]] = field(default_factory=list)

    def json(self, name: str) -> Any:
        """Standard output of a step that has to have gone well."""
        answer = self.answers[name]
        assert answer.code == 0, answer.errors
        return json.loads(answer.output)


def ours(settings: Settings) -> dict[str, str]:
    """The environment of a command of these settings."""
    named = settings_environment(settings)
    return {name: value for name, value in named.items() if name.startswith("CANDLEWICK_")}


@pytest.fixture(scope="module")
def run(kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Bad records, looked at and mended by the command, while the worker runs."""
    folder = tmp_path_factory.mktemp("dead")
    name = f"dead-{folder.name}-{id(folder):x}"
    settings = worker_settings(kafka, name, folder, topics={"partitions": PARTITIONS})
    run = Run(settings)
    asyncio.run(steps(run, folder))
    return run


async def counts(settings: Settings) -> dict[str, int]:
    """Outcomes of all partitions together."""
    total: dict[str, int] = {}
    for marker in (await markers(settings)).values():
        for name, count in marker.counts.items():
            total[name] = total.get(name, 0) + count
    return total


async def steps(run: Run, folder: Path) -> None:
    settings = await prepared(run.settings)
    named = ours(settings)
    edited = folder / "mended.json"
    edited.write_bytes(MENDED)

    async def dead(step: str, *arguments: str | Path) -> Finished:
        answer = await asyncio.to_thread(candlewick, folder, "dead", *arguments, settings=named)
        run.answers[step] = answer
        return answer

    good = [trade(HERE, START), trade(HERE, START + 4 * SECOND)]
    await send(settings, {0: [HISTORICAL], 1: [HISTORICAL]})
    async with WorkerProcess(settings) as worker:
        bad = [EVIL, MISPLACED, None, WRONG_FIELD]
        await send(settings, {0: [good[0], *bad, good[1]], 1: [trade(THERE, START)]})
        await wait_drained(settings, worker)
        run.before = await counts(settings)

        await dead("list", "list")
        found = json.loads((await dead("json", "list", "--agent", "bars", "--json")).output)
        await dead("reason", "list", "--reason", "wrong_partition", "--limit", "1", "--json")
        await dead("count", "list", "--count", "--json")
        await dead("table", "list", "--count")
        place = {each["text"]: (str(each["partition"]), str(each["offset"])) for each in found}
        evil = place[EVIL.decode("utf-8", "replace")]
        await dead("show", "show", *evil)
        await dead("show json", "show", *evil, "--json")
        await dead("hole", "show", "0", "999")
        await dead("dry", "resend", "--all", "--dry-run", "--json")
        await dead("asked", "resend", "--reason", "wrong_partition")

        await dead("moved", "resend", "--reason", "wrong_partition", "--yes", "--json")
        wrong = place[WRONG_FIELD.decode()]
        await dead("edited", "resend", *wrong, "--edit", edited, "--yes")
        await dead("hopeless", "resend", *evil, "--yes")
        await wait_drained(settings, worker)
        await send(settings, {0: [FLUSH], 1: [FLUSH]})
        await wait_drained(settings, worker)
        await dead("after", "list", "--json")
        assert await worker.stop() == 0
    run.after = await counts(settings)
    run.bars = await bars_of(settings)
    ticks = await read_topic(settings, ticks_topic(settings))
    run.log = {partition: [each.value for each in records] for partition, records in ticks.items()}
    await assert_exact(settings)


def test_the_list_shows_each_letter_and_nothing_that_a_terminal_obeys(run: Run) -> None:
    answer = run.answers["list"]
    assert answer.code == 0
    lines = answer.output.splitlines()
    assert len(lines) == 5
    assert "\x1b" not in answer.output
    assert "\x07" not in answer.output
    for reason in ("malformed", "wrong_partition", "null"):
        assert any(f" {reason} " in line for line in lines)
    source = ticks_topic(run.settings)
    assert {f"{source} 0 {offset}" in answer.output for offset in (2, 3, 4, 5)} == {True}


def test_json_has_the_exact_bytes_and_where_they_came_from(run: Run) -> None:
    found = sorted(run.json("json"), key=lambda each: each["source_offset"])
    values = [each["base64"] and base64.b64decode(each["base64"]) for each in found]
    assert values == [EVIL, MISPLACED, None, WRONG_FIELD]
    assert [each["reason"] for each in found] == [
        *("malformed", "wrong_partition", "null", "malformed")
    ]
    assert {each["agent"] for each in found} == {"bars"}
    assert {each["source_partition"] for each in found} == {0}
    (misplaced,) = run.json("reason")
    assert base64.b64decode(misplaced["base64"]) == MISPLACED


def test_letters_are_counted_by_reason(run: Run) -> None:
    expected = {"malformed": 2, "wrong_partition": 1, "null": 1}
    assert run.json("count") == {"bars": expected}
    assert "malformed" in run.answers["table"].output
    assert run.before["dead"] == 4


def test_one_letter_is_shown_whole_and_safely(run: Run) -> None:
    text = run.answers["show"].output
    assert "\x1b" not in text
    assert r"\x1b]0;gone\x07" in text
    assert "not one JSON object or MessagePack map of the contract" in text
    assert "  reason: malformed" in text
    assert EVIL[:8].hex(" ") in text
    found = run.json("show json")
    assert [each["name"] for each in found["headers"]] == ["reason", "topic", "partition", "offset"]
    missing = run.answers["hole"]
    assert missing.code == 1
    assert len(missing.last_words) == 1
    assert "no dead letter at partition 0, offset 999" in missing.last_words[0]


def test_raw_is_exactly_the_bytes(run: Run, tmp_path: Path) -> None:
    (found,) = (each for each in run.json("json") if each["source_offset"] == 2)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "app.cli",
            "dead",
            "show",
            str(found["partition"]),
            str(found["offset"]),
            "--raw",
        ],
        cwd=tmp_path,
        env=environment(ours(run.settings)),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == EVIL


def test_a_dry_run_says_where_and_sends_nothing(run: Run) -> None:
    answer = run.json("dry")
    assert answer == {
        "topic": ticks_topic(run.settings),
        "records": 4,
        "by_reason": {"malformed": 2, "wrong_partition": 1, "null": 1},
        "by_partition": {"0": 3, "1": 1},
        "moved": 1,
        "left_out": 0,
        "dry_run": True,
    }
    assert "wrong_partition  to partition 1" in run.answers["dry"].errors


def test_without_an_answer_nothing_is_sent(run: Run) -> None:
    answer = run.answers["asked"]
    assert answer.code == 1
    assert "nothing is deleted" in answer.errors
    # The flush apart, the misplaced record came to partition 1 once: by the step after this one.
    assert run.log[1] == [HISTORICAL, trade(THERE, START), MISPLACED, FLUSH]


def test_a_letter_of_the_wrong_partition_lands_in_the_right_one(run: Run) -> None:
    sent = run.json("moved")
    assert (sent["records"], sent["moved"], sent["by_partition"]) == (1, 1, {"1": 1})
    bar = find(run.bars, THERE, START + 2 * SECOND)
    assert (bar["open"], bar["trades"]) == (7.0, 1)


def test_an_edited_letter_is_applied(run: Run) -> None:
    assert run.answers["edited"].code == 0
    assert "note:" not in run.answers["edited"].errors
    assert run.answers["edited"].output.startswith("1 record sent to ")
    assert run.log[0][-3:] == [MENDED, EVIL, FLUSH]
    bar = find(run.bars, HERE, START + 3 * SECOND)
    assert (bar["close"], bar["trades"]) == (9.0, 1)


def test_the_same_bytes_are_dead_again_and_the_old_letter_stays(run: Run) -> None:
    assert "the same bytes are refused again" in run.answers["hopeless"].errors
    assert len(run.json("after")) == len(run.json("json")) + 1
    difference = {name: run.after[name] - run.before[name] for name in run.after}
    applied = difference["applied"] + difference["revised"]
    assert (applied, difference["dead"], difference["control"]) == (2, 1, 2)


def find(bars: list[dict[str, Any]], symbol: str, start: int) -> Mapping[str, Any]:
    """The highest revision of a bar of a second."""
    versions = [
        bar
        for bar in bars
        if (bar["symbol"], bar["interval"], bar["start"]) == (symbol, "1s", start)
    ]
    return max(versions, key=lambda bar: bar["revision"])
