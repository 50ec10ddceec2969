"""Raw files through the whole engine: bars equal to those worked out from the raw file alone."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.broker import EmbeddedBroker
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import output_topic
from tests.command import run

pytestmark = [pytest.mark.broker, pytest.mark.slow]

INTERVALS = {"1s": 1_000_000_000, "1m": 60_000_000_000}
#: The engine's sums are exact on this grid (app/README.md, semantics).
GRID = 2**40
Bar = tuple[str, int, float, float, float, float, float, float | None, int]


class Tick(NamedTuple):
    """A trade as the raw file has it; `order` among those of the same time."""

    time: int
    order: int
    price: float
    size: float


def on_grid(value: float) -> int:
    """Rounded once, half to even."""
    return round(Fraction(value) * GRID)


def bars_of(ticks: Iterable[Tick]) -> list[Bar]:
    """Every bar with policy `all`: interval, start, OHLC, volume, vwap, trades."""
    windows: dict[tuple[str, int], list[Tick]] = defaultdict(list)
    for tick in ticks:
        for name, length in INTERVALS.items():
            windows[name, tick.time // length * length].append(tick)
    bars = []
    for (name, start), inside in sorted(windows.items()):
        inside.sort()
        prices = [tick.price for tick in inside]
        volume = sum(on_grid(tick.size) for tick in inside)
        value = sum(on_grid(tick.price * tick.size) for tick in inside)
        vwap = float(Fraction(value, volume)) if volume else None
        total = float(Fraction(volume, GRID))
        bars.append(
            (name, start, prices[0], max(prices), min(prices), prices[-1], total, vwap, len(inside))
        )
    return bars


def exported(path: Path) -> list[Bar]:
    """The bars of an export of one symbol, without the symbol."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["symbol"] for row in rows}) == 1
    return sorted(
        (
            row["interval"],
            int(row["start_ns"]),
            *(float(row[name]) for name in ("open", "high", "low", "close", "volume")),
            float(row["vwap"]) if row["vwap"] else None,
            int(row["trades"]),
        )
        for row in rows
    )


@pytest.fixture
def own(kafka: EmbeddedBroker, unique: str) -> dict[str, str]:
    """Settings of a log of one's own."""
    return {
        "CANDLEWICK_BROKER__URL": kafka.url,
        "CANDLEWICK_TOPIC_PREFIX": f"{unique}.",
        "CANDLEWICK_BARS__POLICY": "all",
    }


def replayed(
    own: dict[str, str], folder: Path, *arguments: str | Path
) -> tuple[dict[str, Any], list[Bar]]:
    """Run a replay to its end; outcomes add up to the records sent."""
    export = folder / "bars.csv"
    chosen = ("--intervals", "1s,1m", "--deployment", "d")
    summary = run(folder, export, *chosen, *arguments, settings=own)
    counts, sent = summary["outcomes"]["counts"], summary["replayed"]
    marks = 2 * len(sent["partitions"])
    assert sum(counts.values()) == sent["sent"] == sent["trades"] + sent["raw"] + marks
    return summary, exported(export)


@pytest.mark.realdata
def test_bars_of_spot_frames_are_those_of_the_exchange_s_trades(
    own: dict[str, str], realdata: Path, tmp_path: Path
) -> None:
    """By the exchange's time, although the recorder's clock is 1.27 s behind it."""
    path = realdata / "binance_raw/spot_btcusdt_20240808.gz"
    summary, bars = replayed(own, tmp_path, "--replay", path)
    with gzip.open(path, "rb") as stream:
        lines = stream.readlines()
    events = [
        json.loads(line.split(b" ", 1)[1])["data"] for line in lines if b'"e":"trade"' in line
    ]
    ticks = [
        Tick(each["T"] * 1_000_000, each["t"], float(each["p"]), float(each["q"]))
        for each in events
    ]
    assert summary["outcomes"]["counts"]["applied"] == len(ticks) == 9_757
    assert len(lines) == len(ticks) + sum(summary["replayed"]["left_out"].values())
    assert bars == bars_of(ticks)


@pytest.mark.realdata
def test_a_cancel_of_taq_takes_its_trade_out_of_its_bars_nine_hours_later(
    own: dict[str, str], realdata: Path, tmp_path: Path
) -> None:
    """127,300 shares printed at 13:51:06 and cancelled at 22:55: each bar with and without them."""
    path = realdata / "taq/xxx_trades_20180102_03.csv.gz"
    summary, bars = replayed(own, tmp_path, "--replay", path)
    ticks, cancelled, cancels = [], [], 0
    with gzip.open(path, "rt", newline="") as stream:
        for place, row in enumerate(csv.DictReader(stream)):
            seconds, part = row["DT"].split(".")
            whole = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp())
            time = whole * 1_000_000_000 + int(part)
            cancels += row["CORR"] == "10"
            if row["CORR"] != "10":
                ticks.append(Tick(time, place, float(row["PRICE"]), float(row["SIZE"])))
            if row["CORR"] == "8":
                cancelled.append(ticks[-1])
    assert (len(ticks), cancels, len(cancelled)) == (77_262, 1, 1)
    assert (summary["replayed"]["trades"], summary["replayed"]["raw"]) == (len(ticks), cancels)
    counts = summary["outcomes"]["counts"]
    assert (counts["applied"], counts["dead"], counts["late"]) == (len(ticks), 0, 0)
    (print_,) = cancelled
    second, minute = ((name, print_.time // size * size) for name, size in INTERVALS.items())
    # It was the only trade of its second: that bar is empty now, at the price it had.
    empty: Bar = (*second, *[print_.price] * 4, 0.0, None, 0)
    assert [bar for bar in bars if bar != empty] == bars_of(
        tick for tick in ticks if tick not in cancelled
    )
    # Before the cancel each of its bars was published with the trade.
    with_it = {bar[:2]: bar for bar in bars_of(ticks)}
    without = {bar[:2]: bar for bar in bars}
    assert {key for key, bar in with_it.items() if without.get(key) != bar} == {second, minute}
    revisions = published_of(own, {second, minute})
    assert revisions == {key: [with_it[key], without[key]] for key in (second, minute)}
    assert with_it[minute][6] - without[minute][6] == print_.size == 127_300


def published_of(
    own: dict[str, str], keys: set[tuple[str, int]]
) -> dict[tuple[str, int], list[Bar]]:
    """What was published of some bars, revision by revision."""
    settings = Settings(
        deployment="d",
        topic_prefix=own["CANDLEWICK_TOPIC_PREFIX"],
        broker={"url": own["CANDLEWICK_BROKER__URL"]},
    )
    found: dict[tuple[str, int], list[tuple[int, Bar]]] = defaultdict(list)
    for value in asyncio.run(values_of(settings, "bars")):
        bar = json.loads(value)
        key = bar["interval"], bar["start"]
        if key in keys:
            fields = ("open", "high", "low", "close", "volume", "vwap", "trades")
            found[key].append((bar["revision"], (*key, *(bar[name] for name in fields))))
    for revisions in found.values():
        assert sorted(number for number, _ in revisions) == list(range(len(revisions)))
    return {key: [bar for _, bar in sorted(revisions)] for key, revisions in found.items()}


def frame(number: int, price: str) -> bytes:
    """A line of a recording: a trade each 250 ms."""
    return (
        b'1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":%d,'
        b'"p":"%s","q":"0.5","T":%d}}' % (number, price.encode(), 1_723_161_255_000 + 250 * number)
    )


def test_lines_that_cannot_be_read_become_dead_letters_with_their_bytes(
    own: dict[str, str], tmp_path: Path
) -> None:
    bad = [frame(1, "abc"), frame(2, "61837.63")[:-9], b"no JSON at all"]
    lines = [frame(0, "61837.63"), *bad, frame(3, "61837.5"), b'{"e":"depthUpdate","s":"BTCUSDT"}']
    path = tmp_path / "frames.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    summary, bars = replayed(own, tmp_path, "--replay", path)
    counts = summary["outcomes"]["counts"]
    assert (counts["applied"], counts["dead"]) == (2, len(bad))
    assert summary["replayed"]["left_out"] == {"depthUpdate": 1}
    start = 1_723_161_255_000_000_000
    assert bars == bars_of(
        [Tick(start, 0, 61837.63, 0.5), Tick(start + 750_000_000, 3, 61837.5, 0.5)]
    )
    settings = Settings(
        deployment="d",
        topic_prefix=own["CANDLEWICK_TOPIC_PREFIX"],
        broker={"url": own["CANDLEWICK_BROKER__URL"]},
    )
    assert asyncio.run(values_of(settings, "bars.dead")) == sorted(bad)


async def values_of(settings: Settings, output: str) -> list[bytes]:
    """All values of an output topic, sorted."""
    partitions = await partitions_of(settings, [output_topic(settings, output)])
    ranges = await bounds(settings, partitions)
    found = []
    async for _, records in read_range(settings, ranges):
        found += [record.value for record in records]
    return sorted(found)


def test_a_mapped_file_makes_the_bars_of_its_trades(own: dict[str, str], tmp_path: Path) -> None:
    """Local times of New York, prices times 10,000, a symbol for all, other columns beside."""
    rows = [("09:30:00.25", 1_674_100, 100), ("09:30:00.75", 1_674_300, 1), ("09:31:00", 1, 7)]
    text = "when;junk;last;qty\n" + "".join(f"2013-10-07 {t};x;{p};{s}\n" for t, p, s in rows)
    path = tmp_path / "own.csv"
    path.write_text(text)
    (tmp_path / "mapping.toml").write_text(
        'delimiter = ";"\ntime_zone = "America/New_York"\nprice_scale = 10000\n'
        '[columns]\nevent_time = "when"\nprice = "last"\nsize = "qty"\n'
    )
    options = ("--mapping", tmp_path / "mapping.toml", "--constant", "symbol=SPY")
    summary, bars = replayed(own, tmp_path, "--replay", path, *options)
    start = 1_381_152_600_000_000_000
    ticks = [
        Tick(start + 250_000_000, 0, 167.41, 100.0),
        Tick(start + 750_000_000, 1, 167.43, 1.0),
        Tick(start + 60_000_000_000, 2, 0.0001, 7.0),
    ]
    assert summary["outcomes"]["counts"]["applied"] == len(ticks)
    assert bars == bars_of(ticks)
