"""Recorded days through bars, indicators and predictions: live is what the batch verb says.

Two models of returns, of 10 s and of 1 min, are trained by the command on SPY's first day. SPY's
other days and IBM's three are replayed through one worker that is killed on the way. Then:

- the archive of the committed bars, by `candlewick predict`, gives each row that was live, all of
  them, in bits; the final bars alone give all but those behind a bar that was revised too late;
- one undisturbed pass over the committed logs gives the same bars and the same records;
- the returns by which predictions are judged are those that training takes from these bars;
- the live intervals hold what they promise, on bars after all that the models have seen, and
  monitoring says so of itself.

In these days bars of 10 s are revised 351 times while they are the newest, by volume without a
price: what was predicted from them is predicted anew. One bar of a minute is revised too late: see
`CLOSING`. The archive has that revision where it came, behind the bar after it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from agents.markets import market_context
from app.admin import ensure_topics
from app.archive.writing import ArchiveWriter
from app.broker import EmbeddedBroker
from app.connection import connect
from app.contracts.batch import RecordBatch
from app.contracts.predictions import OutcomeRecord, outcome_decoder, prediction_decoder
from app.durations import parse_duration
from app.feeds.replayer import replay
from app.groups import committed_offsets
from app.identity import group_id
from app.run.export import LAYOUTS, read_bars, write_export
from app.settings import Settings
from app.topics import source_topic
from app.training.sources import Files
from models.predicting.features_returns import Returns
from models.predicting.manifest import Manifest
from models.predicting.registry import Registry
from models.predicting.registry_store import open_store
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.predictions_compared import (
    Compared,
    Known,
    compare,
    coverage,
    hours,
    other_targets,
    parts,
)
from tests.broker.test_derived_predictions import expected, indicators
from tests.broker.test_engine_quotes import wait_drained
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import Read, read_output
from tests.checks.evidence_bars import export_recorded
from tests.command import EQUITY, candlewick, tell

pytest.importorskip("xgboost", reason="pip install 'candlewick[models]'")
pytest.importorskip("exchange_calendars", reason="pip install 'candlewick[markets]'")
pytestmark = [pytest.mark.realdata, pytest.mark.broker, pytest.mark.slow]

#: Models and their bars.
MODELS = {"returns-10s": "10s", "returns-1m": "1m"}
INTERVALS = ",".join(MODELS.values())
LENGTHS = {label: parse_duration(label) for label in MODELS.values()}
CALENDAR = "XNYS"
TRAINED = Path("spy/20131007_trade.zip")
REPLAYED = (Path("spy/20131008_trade.zip"), Path("spy/20131009_trade.zip"), Path("ibm"))
#: IBM's closing print of the first day belongs to the minute before the close, but comes when the
#: minute after it is the newest. What was predicted from it, or judged by it, stays as it was.
CLOSING = ("IBM", 1_381_175_940_000_000_000)
#: Where the worker is killed: records of the predictions agent's source that are committed, of
#: about 17,000.
KILLS = (800, 4_000, 8_000, 12_000, 15_500)
#: Records a second: a worker that comes back may take in one go what was sent meanwhile, and must
#: not be at the end then.
RATE = 9_000
HORIZON = 3
LEAST, LOW, HIGH = 3_000, 0.88, 0.92
SECONDS = 300.0
#: As `worker_settings` has them.
PARTITIONS = {"CANDLEWICK_TOPICS__PARTITIONS": "2"}
#: See test_derived_realdata.py.
PATIENT = {"transaction_timeout": "30s", "session_timeout": "10s", "fetch_max_bytes": 128 * 1024}


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Three agents, one behind the other."""
    chosen = worker_settings(
        kafka,
        unique,
        tmp_path,
        bars={"intervals": INTERVALS, "policy": "algoseek"},
        broker=PATIENT,
        indicators={"default": ",".join(each.label for each in Returns.plan().requests)},
        markets={"calendar": CALENDAR},
        predictions={"models": ",".join(f"{name}@{label}" for name, label in MODELS.items())},
        models={"registry": str(tmp_path / "models"), "poll": "100ms"},
    )
    return chosen.model_copy(update={"agents": ("bars", "indicators", "predictions")})


async def command(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """What a command says with --json."""
    done = await asyncio.to_thread(
        partial(candlewick, folder, *arguments, "--json", seconds=SECONDS, settings=PARTITIONS)
    )
    assert done.code == 0, done.errors
    found: dict[str, Any] = json.loads(done.output)
    return found


async def trained(settings: Settings, folder: Path, data: Path) -> dict[str, Manifest]:
    """Train, publish and promote each model."""
    bars = folder / "trained.parquet"
    export_recorded([data / TRAINED], INTERVALS, bars)
    place = settings.models.registry
    assert place is not None
    for name, label in MODELS.items():
        await command(
            folder,
            *("train", "--bars", bars, "--interval", label, "--horizon", str(HORIZON)),
            *("--folds", "2", "--calendar", CALENDAR, "--out", folder / name, "--publish", name),
            *("--promote", "champion", "--by", "a test", "--registry", place),
        )
    manifests = {name: Registry.at(place).manifest(name, 1) for name in MODELS}
    for manifest in manifests.values():
        assert manifest.market is not None
        assert [(each.name, each.symbols) for each in manifest.market] == [(CALENDAR, ("SPY",))]
    return manifests


async def announced(settings: Settings) -> None:
    """Wait until every partition knows both champions: each row is of a bar behind that."""

    async def met() -> bool:
        found = await indicators(settings)
        marks = [f'"type":"alias","model":"{name}"'.encode() for name in MODELS]
        return len(found) == settings.topics.partitions and all(
            any(mark in (each.value or b"") for each in records)
            for records in found.values()
            for mark in marks
        )

    await until(met, lambda: "no move of both champions in every partition")


async def position(settings: Settings) -> int:
    """Records that the predictions agent has done with, and committed."""
    topic, count = source_topic(settings, "predictions"), settings.topics.partitions
    async with connect(settings) as client:
        return sum((await committed_offsets(client, group_id(settings), topic, count)).values())


async def run(settings: Settings, data: Path) -> tuple[int, list[int]]:
    """Replay with kills; records sent, and the positions where they came."""
    await ensure_topics(settings)
    found: list[int] = []
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await announced(settings)
        files = [data / each for each in REPLAYED]
        sending = asyncio.create_task(replay(settings, files, rate=RATE))

        async def reached(least: int) -> bool:
            assert worker.running, worker.tail
            found[-1] = await position(settings)
            return found[-1] >= least

        try:
            for least in KILLS:
                found.append(0)
                await until(partial(reached, least), lambda: f"{found}; {worker.tail}", SECONDS)
                await worker.kill9()
                await worker.start()
            sent = (await sending).sent
        finally:
            sending.cancel()
        # It may have been drained already when it was killed: then it is still starting.
        await worker.wait_ready()
        await wait_drained(settings, worker, SECONDS)
        assert worker.starts == 1 + len(KILLS)
        assert await worker.stop() == 0
    found.append(await position(settings))
    assert found == sorted(set(found)), "kills were at different places, all before the end"
    return sent, found


async def check_one_pass(settings: Settings) -> int:
    """All that was published is what one undisturbed pass over the indicators gives; how much."""
    states, records = await expected(settings), 0
    for output in ("predictions", "outcomes", "monitoring", "dead"):
        name = "predictions" if output == "predictions" else f"predictions.{output}"
        found = await read_output(settings, name)
        for number, state in states.items():
            published = [(each.key, each.value) for each in found.get(number, [])]
            wanted = [(each.key, each.value) for each in state._outputs.get(output, [])]
            assert published == wanted, (output, number)
            assert output != "dead" or not published
            records += len(published)
    changelog = await read_output(settings, "predictions.changelog")
    for number, rows in changelog.items():
        marker = decode_marker([each.value for each in rows if each.key == MARKER_KEY][-1] or b"")
        assert marker.counts == states[number].counts
    return records


async def archived(settings: Settings, place: Path) -> int:
    """Write an archive of the committed bars; how many versions of bars it has."""
    writer, count = ArchiveWriter(open_store(place)), 0
    for number, records in (await read_output(settings, "bars")).items():
        if not records:
            continue
        following = records[-1].offset + 1
        batch = RecordBatch(
            *("bars", number, 0, following, [each.value for each in records]),
            np.array([each.offset for each in records], dtype=np.int64),
            np.array([each.timestamp * 1_000_000 for each in records], dtype=np.int64),
        )
        writer.add("bars", batch, 0)
        count += len(records)
    assert writer.flush(0) is not None
    return count


async def compared(
    settings: Settings, folder: Path, bars: Path, *source: str | Path
) -> dict[str, Compared]:
    """Each model's committed predictions beside those of the batch verb.

    Args:
        bars: the final ones.
        source: the verb's options that say what it predicts from.
    """
    revisions: dict[str, dict[tuple[str, int], int]] = {label: {} for label in MODELS.values()}
    for row in pq.read_table(bars).to_pylist():
        revisions[row["interval"]][row["symbol"], row["start_ns"]] = row["revision"]
    published = await read_output(settings, "predictions")
    live = [
        prediction_decoder.decode(each.value or b"")
        for records in published.values()
        for each in records
    ]
    found = {}
    for name, label in MODELS.items():
        target = folder / f"{name}.parquet"
        told = await command(
            folder,
            *("predict", *source, "--model", name, "--calendar", CALENDAR),
            *("--registry", settings.models.registry or "", "--out", target),
        )
        rows = pq.read_table(target).to_pylist()
        assert told["rows"] == len(rows)
        assert told["without"].keys() <= {"warm_up"}
        own = [each for each in live if each.model == name]
        found[name] = compare(own, rows, revisions[label])
    return found


def check_monitoring(
    logs: dict[int, list[Read]], outcomes: dict[int, list[OutcomeRecord]], told: Iterable[Read]
) -> list[str]:
    """Monitoring says each hour what the outcomes say; its last words, by model."""
    wanted = {number: hours(log, outcomes[number], LENGTHS) for number, log in logs.items()}
    last = {}
    for each in told:
        record = json.loads(each.value or b"")
        sums, model, until_time = record["sums"], record["model"], record["until"]
        (number,) = record["partitions"]
        known = Known(*(sums[name] for name in Known._fields))
        assert known == wanted[number][model, until_time]
        assert (record["alias"], record["version"]) == ("champion", 1)
        if known.intervals:
            assert record["figures"]["coverage"] == known.inside / known.intervals
            assert record["figures"]["mse"] == known.squared_error / known.outcomes
        last[number, model] = (until_time, known)
    lines = []
    for (number, model), (until_time, known) in sorted(last.items()):
        assert until_time == max(time for own, time in wanted[number] if own == model)
        lines.append(
            f"monitoring of {model} until {datetime.fromtimestamp(until_time / 1e9, UTC):%F %R}: "
            f"{known.inside / known.intervals:.2%} of {known.intervals:,}, as counted from outcomes"
        )
    return lines


@pytest.mark.timeout(600)
async def test_live_predictions_of_recorded_days_are_those_of_the_batch_although_killed(
    settings: Settings, realdata: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    data = realdata / EQUITY
    manifests = await trained(settings, tmp_path, data)
    sent, positions = await run(settings, data)

    bars, undisturbed = tmp_path / "bars.parquet", tmp_path / "undisturbed.parquet"
    highest = await read_bars(settings)
    write_export(bars, highest.rows(), LAYOUTS["bars"].schema)
    export_recorded([data / each for each in REPLAYED], INTERVALS, undisturbed)
    assert bars.read_bytes() == undisturbed.read_bytes()
    records = await check_one_pass(settings)
    versions = await archived(settings, tmp_path / "archive")
    assert versions > len(highest)
    whole = await compared(settings, tmp_path, bars, "--archive", tmp_path / "archive")
    found = await compared(settings, tmp_path, bars, "--bars", bars)

    outcomes = {
        number: [outcome_decoder.decode(each.value or b"") for each in own]
        for number, own in (await read_output(settings, "predictions.outcomes")).items()
    }
    monitoring = await read_output(settings, "predictions.monitoring")
    said = [each for own in monitoring.values() for each in own]
    lines = check_monitoring(dict(await indicators(settings)), outcomes, said)
    every = [each for own in outcomes.values() for each in own]
    by_model = {name: [each for each in every if each.model == name] for name in MODELS}
    market_of = market_context(settings).market
    others = {
        name: other_targets(Files([bars]).read(label).bars, HORIZON, market_of, by_model[name])
        for name, label in MODELS.items()
    }
    later = {
        name: [each for each in own if each.start >= manifests[name].data_to]
        for name, own in by_model.items()
    }
    tell(
        pytestconfig,
        f"{sent:,} records, {len(highest):,} bars; killed {len(KILLS)} times after "
        f"{', '.join(f'{each:,}' for each in positions[:-1])} of {positions[-1]:,} records; "
        f"{records:,} published, each as in one pass; calendar {CALENDAR}",
        *(f"{name}, archive of {versions:,} versions: {each}" for name, each in whole.items()),
        *(f"{name}, final bars: {each}" for name, each in found.items()),
        *(f"{name}: {len(own)} targets are not those of training" for name, own in others.items()),
        *(
            f"{name}: 90 % intervals hold {coverage(own)[0]:.2%} of {coverage(own)[1]:,} returns; "
            f"after the training's last {coverage(later[name])[0]:.2%} of "
            f"{coverage(later[name])[1]:,}: {parts(later[name])}"
            for name, own in by_model.items()
        ),
        *lines,
        f"{len(said):,} hours of monitoring compared",
    )

    assert sum(each.rows for each in whole.values()) == sum(each.rows for each in found.values())
    assert not any(each.differences for each in whole.values())
    tens, minutes = found["returns-10s"], found["returns-1m"]
    for each in (*whole.values(), *found.values()):
        assert not each.only_live
        assert not each.only_batch
    assert tens.rows > 13_000
    assert tens.records > tens.rows + 300, "predicted anew after revisions"
    assert not tens.stale
    assert not tens.inexact
    assert not tens.differences
    assert not others["returns-10s"]
    # What came too late is known, and nothing else differs.
    assert others["returns-1m"] == {(CLOSING[0], CLOSING[1] - HORIZON * LENGTHS["1m"])}
    assert minutes.stale == {CLOSING}
    assert {symbol for symbol, _ in minutes.inexact} == {"IBM"}
    assert all(each.place >= CLOSING and each.place[0] == "IBM" for each in minutes.differences)
    assert all(not e.exact or e.place == CLOSING for e in minutes.predictions)
    assert len(lines) == len(MODELS)
    for own in (by_model["returns-10s"], later["returns-10s"]):
        share, count = coverage(own)
        assert count >= LEAST
        assert LOW <= share <= HIGH
