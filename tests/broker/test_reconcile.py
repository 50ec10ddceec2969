"""`candlewick reconcile` against a worker's bars: no drift, and a bar that was tampered with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.contracts.wire import CorrectionRecord, encoder
from app.reconcile.judging import Correction
from app.reconcile.reading import _without_refused
from app.run.environment import settings_environment
from app.settings import Settings
from app.topics import bars_topic, output_topic, source_topic
from tests.broker.test_engine_quotes import append, quotes, wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    START,
    Value,
    market,
    prepared,
    read_topic,
    symbol_of,
    trade,
)
from tests.command import Finished, candlewick

pytestmark = pytest.mark.broker

COUNT = 3_000


async def reconciled(settings: Settings, folder: Path, *arguments: str) -> Finished:
    """Run `candlewick reconcile` on a deployment."""
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}
    return await asyncio.to_thread(candlewick, folder, "reconcile", *arguments, settings=ours)


async def test_a_worker_s_bars_and_one_that_was_tampered_with(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    chosen = worker_settings(kafka, unique, tmp_path)
    settings = await prepared(chosen.model_copy(update={"agents": ("bars", "quotes")}))
    reconcile = partial(reconciled, settings, tmp_path)
    for number in range(2):
        # The last values close nothing, so that some windows stay open; a flush ends the mark.
        trades = market(number, 2, COUNT)
        head, tail = trades[: COUNT // 2], trades[COUNT // 2 :]
        values = [HISTORICAL, *head, FLUSH, HISTORICAL, *tail]
        await append(settings, source_topic(settings, "bars"), number, values)
        values = [HISTORICAL, *quotes(number, COUNT)]
        await append(settings, source_topic(settings, "quotes"), number, values)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        running = await reconcile("--json")
        assert running.code == 0, running.errors
        assert await worker.stop() == 0

    found = json.loads(running.output)
    assert [each["agent"] for each in found] == ["bars", "quotes"]
    for each in found:
        assert each["bars"] > 500, running.output
        assert (each["missing"], each["extra"], each["differences"]) == (0, 0, [])
        assert {field["drift"] for field in each["fields"].values()} == {0.0}
        assert each["left_out"]["open"] > 0
        assert each["left_out"]["moving"] == each["left_out"]["cut"] == 0
    shown = await reconcile()
    assert (shown.code, shown.errors) == (0, "")
    assert "0 missing, 0 extra" in shown.output

    topic = bars_topic(settings, "bars")
    published = await read_topic(settings, topic)
    last = json.loads(published[1][-1].value or b"")
    revision = last["revision"] + 1
    wrong = encoder.encode(last | {"close": last["close"] * 1.25, "revision": revision})
    await append(settings, topic, 1, [wrong])
    around = ("--from", str(last["start"]), "--to", str(last["start"] + 1))
    tampered = await reconcile("--agent", "bars", *around, "--list", "3", "--json")
    assert tampered.code == 1
    assert "candlewick: drift above 0.500%: bars close " in tampered.errors
    (drift,) = json.loads(tampered.output)
    unequal = {name: field["unequal"] for name, field in drift["fields"].items()}
    assert unequal == dict.fromkeys(unequal, 0) | {"close": 1}
    (worst,) = drift["differences"]
    assert (worst["symbol"], worst["interval"], worst["start"]) == (
        last["symbol"],
        last["interval"],
        last["start"],
    )
    assert (worst["published"], worst["recomputed"]) == (last["close"] * 1.25, last["close"])
    allowed = await reconcile("--agent", "bars", *around, "--threshold", "100%")
    assert allowed.code == 0, allowed.errors


def corrections_of(values: Sequence[Value], every: int) -> list[Value]:
    """Cancel or correct every so many of the trades, by time and sequence; broken ones as well."""
    found: list[Value] = []
    for number, value in enumerate(values[::every]):
        try:
            record = json.loads(value or b"")
        except ValueError:
            continue
        correction = {
            "type": "correction",
            "action": "correct" if number % 3 else "cancel",
            "symbol": record["symbol"],
            "event_time": START,
            "original_event_time": record["event_time"],
            "original_sequence": record.get("sequence"),
            "original_price": record["price"],
        }
        if number % 3:
            correction["new_price"] = record["price"] * 1.5
        found.append(encoder.encode(correction))
    return found


async def test_corrected_and_cancelled_trades_cause_no_drift(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    chosen = worker_settings(kafka, unique, tmp_path)
    settings = await prepared(chosen.model_copy(update={"agents": ("bars",)}))
    for number in range(2):
        trades = market(number, 2, COUNT)
        # A second of its own, of which nothing is left.
        lonely = symbol_of(number, 2, 5)
        trades.insert(9, trade(lonely, START, 5.0, sequence=0))
        head, tail = trades[: COUNT // 2], trades[COUNT // 2 :]
        cancel = encoder.encode(
            {
                "type": "correction",
                "action": "cancel",
                "symbol": lonely,
                "event_time": START,
                "original_event_time": START,
                "original_sequence": 0,
            }
        )
        values = [HISTORICAL, *head, *corrections_of(head, 151), FLUSH, HISTORICAL, *tail]
        # Of open windows, of closed ones, and some for a second time.
        values += [*corrections_of(trades, 171), cancel]
        await append(settings, source_topic(settings, "bars"), number, values)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    published = await read_topic(settings, bars_topic(settings, "bars"))
    bars = [json.loads(record.value or b"") for records in published.values() for record in records]
    assert sum(bar["filled"] and bar["trades"] == 0 for bar in bars) >= 2
    found = await reconciled(settings, tmp_path, "--json", "--list", "5")
    assert found.code == 0, found.output + found.errors
    (drift,) = json.loads(found.output)
    assert drift["bars"] > 500
    assert drift["left_out"]["moving"] == drift["left_out"]["cut"] == 0
    assert (drift["missing"], drift["extra"], drift["differences"]) == (0, 0, [])


async def test_corrections_that_came_too_late_for_the_log_are_known_by_their_letters(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(worker_settings(kafka, unique, tmp_path))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers(settings))
    await producer.start()
    try:
        for partition, offset, reason in ((0, 7, b"log_gone"), (1, 8, b"log_gone"), (0, 9, b"x")):
            place = [("partition", b"%d" % partition), ("offset", b"%d" % offset)]
            headers = [("reason", reason), ("topic", b"ticks"), *place]
            topic = output_topic(settings, "bars.dead")
            await producer.send_and_wait(topic, b"{}", partition=partition, headers=headers)
    finally:
        await producer.stop()
    record = CorrectionRecord("cancel", "S1", START)
    given = {
        number: [Correction(offset, START, record) for offset in (7, 8, 9)] for number in (0, 1)
    }
    left = await _without_refused(settings, "bars", given)
    assert {number: [each.offset for each in found] for number, found in left.items()} == {
        0: [8, 9],
        1: [7, 9],
    }
