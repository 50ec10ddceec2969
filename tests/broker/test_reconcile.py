"""`candlewick reconcile` against a worker's bars: no drift, and a bar that was tampered with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.contracts.wire import encoder
from app.run.environment import settings_environment
from app.topics import bars_topic, source_topic
from tests.broker.test_engine_quotes import append, quotes, wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, market, prepared, read_topic
from tests.command import Finished, candlewick

pytestmark = pytest.mark.broker

COUNT = 3_000


async def test_a_worker_s_bars_and_one_that_was_tampered_with(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    chosen = worker_settings(kafka, unique, tmp_path)
    settings = await prepared(chosen.model_copy(update={"agents": ("bars", "quotes")}))
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}

    async def reconcile(*arguments: str) -> Finished:
        return await asyncio.to_thread(candlewick, tmp_path, "reconcile", *arguments, settings=ours)

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
