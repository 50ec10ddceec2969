"""`candlewick reconcile` against the archive and InfluxDB, as real sinks have written them.

No drift; then a bar that was changed, one that was removed and one that is there twice are told.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from agents.windowed import bars_configuration
from app.archive.columns import parquet_bytes, read_parquet
from app.archive.layout import archive_location
from app.archive.manifest import read_state
from app.archive.querying import query
from app.broker import EmbeddedBroker
from app.reconcile.compare import Drift
from app.reconcile.judging import Span
from app.reconcile.logs import make_log
from app.reconcile.reading import reconcile
from app.reconcile.stores import make_store
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.progress import wait_until_written
from app.topics import bars_topic, source_topic
from models.predicting.registry_store import LocalStore
from tests.broker.test_engine_quotes import append, quotes, wait_drained
from tests.broker.test_engine_refusals import cut_off
from tests.broker.test_reconcile import corrections_of, reconciled
from tests.broker.test_sink_influx import ns
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, market, prepared, read_topic
from tests.influx.conftest import program as program
from tests.influx.real import Account
from tests.influx_server import InfluxServer

pytestmark = pytest.mark.broker

COUNT = 1_200
Row = dict[str, Any]


async def filled(settings: Settings, worker: WorkerProcess) -> None:
    """Send trades with corrections, and quotes; wait until the sink has written all of it."""
    for number in range(2):
        trades = market(number, 2, COUNT)
        head, tail = trades[: COUNT // 2], trades[COUNT // 2 :]
        values = [HISTORICAL, *head, *corrections_of(head, 151), FLUSH, HISTORICAL, *tail, FLUSH]
        await append(settings, source_topic(settings, "bars"), number, values)
        values = [HISTORICAL, *quotes(number, COUNT), FLUSH]
        await append(settings, source_topic(settings, "quotes"), number, values)
    await wait_drained(settings, worker)
    said: list[str] = []
    await wait_until_written(settings, said.append)


async def compared(
    settings: Settings, agent: str, against: str = "topic", log: str = "kafka"
) -> Drift:
    """What `candlewick reconcile --list 9` finds, without another process."""
    return await reconcile(
        settings,
        bars_configuration(settings),
        agent,
        Span(),
        9,
        store=make_store(settings, agent, against, None),
        log=make_log(settings, agent, log, None),
    )


def assert_same(drift: Drift) -> None:
    """Nothing differs, is left out or lacks."""
    assert drift.bars > 300
    assert (drift.missing, drift.extra, drift.doubled, drift.worst) == (0, 0, 0, [])
    assert drift.above(0.0) == []
    assert not any(drift.left_out.values()), drift.left_out
    assert drift.notes == []


def unequal(drift: Drift) -> dict[str, int]:
    return {each.name: each.unequal for each in drift.fields if each.unequal}


def relative(drift: Drift, name: str) -> float:
    return next(each.relative for each in drift.fields if each.name == name)


def listed(drift: Drift) -> set[tuple[str, int, str]]:
    """Symbol, start and field of the differences."""
    return {(each.symbol, each.start, each.field) for each in drift.worst}


def rewrite(settings: Settings, change: Callable[[Row], list[Row]]) -> None:
    """Change the archive's bars, each row into as many as `change` gives."""
    store = LocalStore(Path(archive_location(settings)))
    for part in read_state(store).parts.values():
        if part.topic == "bars":
            path = Path(store.where(part.path))
            table = read_parquet(path.read_bytes())
            rows = [each for row in table.to_pylist() for each in change(row)]
            path.write_bytes(parquet_bytes(pa.Table.from_pylist(rows, schema=table.schema)))


async def test_the_archive_s_bars_are_those_of_the_log_and_damage_is_told(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    chosen = worker_settings(
        kafka, unique, tmp_path, archive={"age": "300ms"}, sinks={"drivers": "archive"}
    )
    settings = await prepared(chosen.model_copy(update={"agents": ("bars", "quotes")}))
    async with WorkerProcess(settings) as worker:
        await filled(settings, worker)
        for agent in settings.agents:
            assert_same(await compared(settings, agent, "archive"))
        assert await worker.stop() == 0

    # Of the ticks Kafka has the last few alone; the archive has all.
    await cut_off(settings, COUNT)
    assert_same(await compared(settings, "bars", "topic", "archive"))

    # Of bars that have one revision, and so one row.
    places = query(
        archive_location(settings),
        'SELECT symbol, "interval", start FROM bars_versions GROUP BY ALL HAVING count(*) = 1 '
        "ORDER BY ALL LIMIT 3",
    ).to_pylist()
    changed, removed, doubled = (tuple(each.values()) for each in places)

    def damage(row: Row) -> list[Row]:
        key = (row["symbol"], row["interval"], row["start"])
        if key == changed:
            return [row | {"high": row["high"] * 1.25, "trades": row["trades"] + 1}]
        return [row] * {removed: 0, doubled: 2}.get(key, 1)

    rewrite(settings, damage)
    arguments = ("--against", "archive", "--log", "archive", "--agent", "bars", "--list", "9")
    told = await reconciled(settings, tmp_path, *arguments, "--json")
    assert told.code == 1, told.errors
    assert "candlewick: drift above 0.500%: bars high " in told.errors
    (found,) = json.loads(told.output)
    assert found["against"] == "archive"
    assert (found["missing"], found["extra"], found["doubled"]) == (1, 0, 1)
    wrong = {name: each["unequal"] for name, each in found["fields"].items() if each["unequal"]}
    assert wrong == {"high": 1, "trades": 1}
    assert found["fields"]["high"]["largest_relative"] == pytest.approx(0.2)
    assert found["fields"]["trades"]["largest_absolute"] == 1
    assert {(each["symbol"], each["start"], each["field"]) for each in found["differences"]} == {
        (changed[0], changed[2], "high"),
        (changed[0], changed[2], "trades"),
        (removed[0], removed[2], "bar"),
        (doubled[0], doubled[2], "copies"),
    }

    # What the topic has told again, the archive need not have yet.
    topic = bars_topic(settings, "bars")
    for number, records in (await read_topic(settings, topic)).items():
        for record in records:
            bar = json.loads(record.value or b"")
            if (bar["symbol"], bar["interval"], bar["start"]) == removed:
                await append(settings, topic, number, [record.value])
    drift = await compared(settings, "bars", "archive", "archive")
    assert (drift.missing, drift.extra, drift.doubled) == (0, 0, 1)
    assert drift.left_out["unwritten"] == 1


async def test_influxdb_s_bars_are_those_of_the_log_and_damage_is_told(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, program: Path
) -> None:
    with InfluxServer(program, tmp_path / "influx") as server:
        account = Account.make(server, None, "candlewick")
        tokens = {"token": account.tokens["writer"], "reader_token": account.tokens["reader"]}
        chosen = worker_settings(
            *(kafka, unique, tmp_path),
            influx={"url": server.url, **tokens},
            sinks={"drivers": "influx", "timeout": "5s"},
        )
        settings = await prepared(chosen.model_copy(update={"agents": ("bars", "quotes")}))
        async with WorkerProcess(settings) as worker:
            await filled(settings, worker)
            for agent in settings.agents:
                assert_same(await compared(settings, agent, "influx"))
            assert await worker.stop() == 0
        shown = await reconciled(settings, tmp_path, "--against", "influx", "--agent", "bars")
        assert (shown.code, shown.errors) == (0, "")
        assert " bars of InfluxDB compared with " in shown.output
        assert "0 missing, 0 extra, 0 doubled" in shown.output

        rows = [
            row
            for row in account.rows("bars", "_history")
            if row["interval"] == "1s" and not row.get("revision")
        ]
        changed, removed, doubled, moved = rows[5:9]
        write(account, line(changed, close=float(changed["close"]) * 1.25))
        # A point of another writer, with a tag of its own; and one a nanosecond beside its place.
        write(account, line(doubled, host="a"))
        write(account, line(moved, shift=1))
        delete(account, removed)
        drift = await compared(settings, "bars", "influx")
        assert (drift.missing, drift.extra, drift.doubled) == (1, 1, 1)
        assert unequal(drift) == {"close": 1}
        assert relative(drift, "close") == pytest.approx(0.2)
        assert listed(drift) == {
            (changed["symbol"], at(changed), "close"),
            (removed["symbol"], at(removed), "bar"),
            (doubled["symbol"], at(doubled), "copies"),
            (moved["symbol"], at(moved) + 1, "bar"),
        }

        # The writer's token may not read.
        wrong = settings.influx.model_copy(update={"reader_token": settings.influx.token})
        refused = settings.model_copy(update={"influx": wrong})
        with pytest.raises(RunError, match="take the reader's of `candlewick influx setup`"):
            await compared(refused, "bars", "influx")


def at(row: dict[str, str]) -> int:
    """The start of a point, a whole second of 2013."""
    return ns(row["_time"])


def line(row: dict[str, str], shift: int = 0, host: str = "", **changes: float) -> str:
    """A point of one of `Account.rows`, as line protocol."""
    names = ("open", "high", "low", "close", "volume", "vwap")
    fields = {name: changes.get(name, row[name]) for name in names}
    parts = [f"{name}={value}" for name, value in fields.items()]
    tags = f"interval={row['interval']},symbol={row['symbol']}" + (f",host={host}" if host else "")
    return f"bars,{tags} {','.join(parts)},trades={row['trades']}i {at(row) + shift}"


def write(account: Account, text: str) -> None:
    """Write a point into the history, where bars of 2013 are."""
    ask(account, "write", f"&bucket={account.bucket}_history&precision=ns", text.encode(), "writer")


def delete(account: Account, row: dict[str, str]) -> None:
    """Delete a point."""
    start = row["_time"]
    stop = start.removesuffix("Z") + ".000000001Z"
    symbol, interval = row["symbol"], row["interval"]
    where = f'_measurement="bars" AND symbol="{symbol}" AND interval="{interval}"'
    body = json.dumps({"start": start, "stop": stop, "predicate": where}).encode()
    ask(account, "delete", f"&bucket={account.bucket}_history", body, "operator")


def ask(account: Account, what: str, query: str, body: bytes, token: str) -> None:
    request = urllib.request.Request(
        f"{account.server.url}/api/v2/{what}?org=candlewick{query}",
        body,
        {"Authorization": f"Token {account.tokens[token]}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 204
