"""What becomes of the topics' records in InfluxDB: against the page, the records and the log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.predictions import AlternativeRecord, OutcomeRecord, PredictionRecord, alias_move
from app.contracts.wire import (
    AnomalyRecord,
    BarRecord,
    ClockRecord,
    IndicatorsRecord,
    QuoteBarRecord,
    QuoteRecord,
    TradeRecord,
)
from app.feeds.source import open_source
from app.profile.reading import records as recorded
from app.settings import SettingsError
from app.sinks.lines import Kind
from app.sinks.measurements import (
    MEASUREMENTS,
    Measurement,
    check_left_out,
    measurements_of,
)
from app.sinks.points import Encoded, Inputs, PointEncoder
from app.sinks.settings import InfluxSettings
from app.topics import AGENT_TOPICS, INPUTS
from models.features.windows import FeatureRecord
from tables.activity.opened import ActivityBarRecord
from tables.crossing.records import PairRecord
from tables.quality.events import QualityEventRecord, QualitySummaryRecord
from tests.unit.line_protocol import Point, parse

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "influxdb.md"
TIME = 1_700_000_000_000_000_000
BAR = BarRecord("SPY", "1m", TIME, 1, 2, 0.5, 1.5, 100, 1.25, 9, 0, True, False, ("a",))
PREDICTION = PredictionRecord(
    "SPY", "1m", TIME, 0, True, "gbm", 5, "champion", 3, 0.5, None, None,
    {
        "challenger": AlternativeRecord(4, 0.25, -1.0, 1.0),
        "shadow": AlternativeRecord(5, 0.1, 0, 1),
    },
)  # fmt: skip
#: A record of each type, as its topic has it, but for those with points of another's records.
RECORDS: dict[str, list[msgspec.Struct]] = {
    "ticks": [TradeRecord("SPY", 1.5, 2, TIME, "id", 7, "XNAS", ("iso", "odd_lot"), "feed")],
    "quotes": [QuoteRecord("SPY", 1.0, 2.0, TIME)],
    "bars": [BAR],
    "quotes.bars": [
        QuoteBarRecord(
            *("SPY", "1m", TIME, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0.5),
            *(3, 0, True, ("a", "b")),
        )
    ],
    "activity": [
        ActivityBarRecord("SPY", "tick:9", 4, TIME + 5, TIME + 9, 1, 2, 0.5, 1.5, 100, None, 9)
    ],
    "indicators": [IndicatorsRecord("SPY", "1m", TIME, 0, True, {"RSI(14)": 55.5, "SMA(9)": None})],
    "features": [FeatureRecord("SPY", "trades", "5m", TIME, TIME + 9, True, {"trades": 4})],
    "anomalies": [
        AnomalyRecord("SPY", "1m", TIME, 0, "bars", 0.9, 0.8, True, "run", ("r",), {"x": 1}, True)
    ],
    "predictions": [PREDICTION],
    "predictions.outcomes": [
        OutcomeRecord(
            *("SPY", "1m", TIME, "gbm", "champion", 3, True, 5, 0.5, None, None, 0.25, -0.25),
            *(None, 0.125, TIME + 9),
        )
    ],
    "quality": [
        QualityEventRecord("SPY", "gap", TIME, 5, 20240102, "warning", 1.0, 2.0, {"a": 1}, "ticks"),
        QualitySummaryRecord(
            *("SPY", 20240102, TIME, TIME + 9, TIME, None, None, None, "time", 10, 9, 0.9, 4),
            *(None, None, None, (1, 2), {"gap": 3}, 2, True, "quotes"),
        ),
    ],
    "pairs": [PairRecord("A/B", "A", "B", "1m", TIME, 1, 2, 3, 4, 5, 0.5, None, 0, False, 0)],
}


def batch(
    values: Sequence[Any], offsets: Sequence[int] | None = None, base: int = 0
) -> RecordBatch:
    """Make a fetch of records or raw bytes; append times are long after `TIME`."""
    raw = [v if v is None or isinstance(v, bytes) else msgspec.json.encode(v) for v in values]
    places = np.arange(base, base + len(raw)) if offsets is None else np.asarray(offsets)
    following = int(places[-1]) + 1 if len(places) else base
    times = np.full(len(raw), TIME + 10**12)
    return RecordBatch("t", 0, base, following, raw, places.astype(np.int64), times)


def points(made: Encoded) -> list[Point]:
    return [parse(line) for line in made.lines]


def key(point: Point) -> tuple[Any, ...]:
    return (point.measurement, *sorted(point.tags.items()), point.time)


def row(measurement: Measurement) -> tuple[str, ...]:
    """A measurement's line of the page, without the last cell."""
    fields = [
        f"`{name}` {kind}" + (f" ({str(usual[name]).lower()})" if name in usual else "")
        for usual in [measurement.usual]
        for name, kind in measurement.fields.items()
    ]
    if measurement.mapping is not None:
        fields.append(
            f"`{measurement.prefix}*` of `{measurement.mapping}` {measurement.mapping_kind}"
        )
    if measurement.ordinal is not None:
        fields.append("`remainder` integer")
    if measurement.revised:
        fields.append("`nulls` string")
    ordinal = "" if measurement.ordinal is None else f" + `{measurement.ordinal}`"
    return (
        f"`{measurement.name}`",
        f"`{measurement.topic}`",
        ", ".join(f"`{tag}`" for tag in measurement.tags),
        f"`{measurement.time}`{ordinal}",
        ", ".join(fields),
    )


def test_the_page_has_each_measurement_as_it_is() -> None:
    found = re.findall(r"^\| (`.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [tuple(line.split(" | ")) for line in found if line.count(" | ") == 5]
    assert [each[:-1] for each in cells] == [row(each) for each in MEASUREMENTS]
    assert all(each[-1] for each in cells)


def test_every_topic_is_one_of_ours() -> None:
    ours = {topic for each in AGENT_TOPICS.values() for topic, _ in each.outputs.values()}
    assert {each.topic for each in MEASUREMENTS} <= ours | set(INPUTS)
    assert len({each.name for each in MEASUREMENTS}) == len(MEASUREMENTS)
    with pytest.raises(ValueError, match=r"'alerts.events' are not for InfluxDB: expected .*bars"):
        measurements_of("alerts.events")


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.name)
def test_fields_have_the_types_of_the_records(measurement: Measurement) -> None:
    info = msgspec.inspect.type_info(measurement.record)
    assert isinstance(info, msgspec.inspect.StructType)
    kinds = {field.encode_name: _kind(field.type) for field in info.fields}
    kinds.setdefault("offset", Kind.INTEGER)
    assert {name: kinds[name] for name in measurement.fields} == measurement.fields
    assert all(kinds[tag] is Kind.STRING for tag in measurement.tags)
    assert kinds[measurement.time] is Kind.INTEGER
    assert list(measurement.tags) == sorted(measurement.tags)
    assert not set(measurement.tags) & {"trade_id", "version", "offset", "sequence", "number"}


def _kind(info: msgspec.inspect.Type) -> Kind:
    if isinstance(info, msgspec.inspect.UnionType):
        (info,) = (t for t in info.types if not isinstance(t, msgspec.inspect.NoneType))
    if isinstance(info, msgspec.inspect.BoolType):
        return Kind.BOOLEAN
    if isinstance(info, msgspec.inspect.IntType):
        return Kind.INTEGER
    return Kind.FLOAT if isinstance(info, msgspec.inspect.FloatType) else Kind.STRING


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.name)
def test_each_record_becomes_the_point_that_the_table_says(measurement: Measurement) -> None:
    made = PointEncoder(measurement.topic).take(batch(RECORDS[measurement.topic], base=40))
    assert set(made.counts) == {"written"}
    own = [point for point in points(made) if point.measurement == measurement.name]
    assert own
    for point in own:
        assert set(point.tags) == set(measurement.tags)
        for name, value in point.fields.items():
            kind = measurement.fields.get(name)
            if name == "remainder":
                kind = Kind.INTEGER
            elif name == "nulls":
                kind = Kind.STRING
            elif kind is None:
                assert measurement.mapping is not None
                kind = measurement.mapping_kind
            expected = {"float": float, "integer": int, "boolean": bool, "string": str}[kind]
            assert type(value) is expected, name


def test_a_bar_is_written_at_its_start() -> None:
    (line,) = PointEncoder("bars").take(batch(RECORDS["bars"])).lines
    assert line == (
        "bars,interval=1m,symbol=SPY open=1.0,high=2.0,low=0.5,close=1.5,volume=100.0,vwap=1.25,"
        f'trades=9i,sources="a" {TIME}'
    )
    revised = msgspec.structs.replace(BAR, revision=1)
    line = PointEncoder("bars").take(batch([revised])).lines[0]
    assert line.endswith(f'trades=9i,revision=1i,filled=false,sources="a",nulls="" {TIME}')


@given(
    st.lists(
        st.builds(
            lambda close, volume, vwap, filled, sources: msgspec.structs.replace(
                BAR, close=close, volume=volume, vwap=vwap, filled=filled, sources=sources
            ),
            st.floats(0, 9), st.floats(0, 9), st.none() | st.floats(0, 9), st.booleans(),
            st.sampled_from([(), ("a",), ("a", "b")]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
)  # fmt: skip
def test_the_highest_revision_holds_field_by_field_also_after_replays(
    versions: list[BarRecord], replays: list[int], whole: bool
) -> None:
    log = [msgspec.structs.replace(bar, revision=n) for n, bar in enumerate(versions)]
    encoder = PointEncoder("bars", left_out=() if whole else ("bars.sources",))
    stored: dict[str, Any] = {}
    for begin in [0, *replays]:
        # InfluxDB keeps a field that a later write does not have.
        for point in points(encoder.take(batch(log[begin:], base=begin))):
            stored |= point.fields
    (measurement,) = measurements_of("bars")
    nulls = str(stored.pop("nulls", "")).split(",")
    found = {**measurement.usual, **stored}
    expected = msgspec.structs.asdict(log[-1])
    for name in measurement.fields:
        value = None if name in nulls else found.get(name)
        if name == "sources":
            assert value == (",".join(expected[name]) or None if whole else None)
        else:
            assert value == expected[name], name


def test_texts_alone_may_be_left_out() -> None:
    check_left_out(["trades.trade_id", "bars.sources"])
    assert InfluxSettings().leave_out == ()
    for name in ("bars.vwap", "bars.is_final", "sources", "trades.offset", "bars.nulls"):
        with pytest.raises(SettingsError, match=r"LEAVE_OUT: .*expected of trades\.trade_id, "):
            check_left_out([name])
    left = ("trades.trade_id", "trades.conditions")
    (trade,) = points(PointEncoder("ticks", left_out=left).take(batch(RECORDS["ticks"])))
    assert {"venue", "source", "sequence"} <= trade.fields.keys()
    assert not {"trade_id", "conditions"} & trade.fields.keys()


def test_a_fetch_of_many_pieces_gives_each_record_its_line_in_order() -> None:
    bars = [msgspec.structs.replace(BAR, start=TIME + n, vwap=n or None) for n in range(9_001)]
    made = PointEncoder("bars").take(batch([*bars, b"{"], base=3))
    assert (list(made.offsets), made.next) == (list(range(3, 9_004)), 9_005)
    assert made.counts == {"written": 9_001, "malformed": 1}
    found = points(made)
    assert [(p.time, p.fields.get("vwap")) for p in found] == [(b.start, b.vwap) for b in bars]


def test_a_trade_is_told_apart_by_its_offset_and_keeps_all_of_its_time() -> None:
    trade = TradeRecord("SPY", 1.5, 2, TIME + 1_234_567, conditions=("iso", "odd_lot"))
    (line,) = PointEncoder("ticks").take(batch([trade], base=12_089)).lines
    assert line == (
        'trades,symbol=SPY price=1.5,size=2.0,offset=12089i,conditions="iso,odd_lot",'
        f"remainder=567i {TIME + 1_234_089}"
    )
    whole = PointEncoder("ticks", room=1_000_000).take(batch([trade], base=12_089))
    (point,) = points(whole)
    assert (point.time, point.fields["remainder"]) == (TIME + 1_012_089, 234_567)


def test_a_prediction_and_those_that_serve_nobody_are_points_of_their_own() -> None:
    made = PointEncoder("predictions").take(batch([PREDICTION, PREDICTION], base=7))
    assert list(made.offsets) == [7, 7, 7, 8, 8, 8]
    first, second, third = points(made)[:3]
    assert first.fields["alias"] == "champion"
    assert "low" not in first.fields
    assert [second.tags["alias"], third.tags["alias"]] == ["challenger", "shadow"]
    assert second.fields == {"revision": 0, "version": 4, "prediction": 0.25, "low": -1, "high": 1}


def test_mappings_become_fields_and_never_take_a_name_that_has_a_meaning() -> None:
    values = {"MACD(12,26,9).signal": 1.5, "revision": 2.5, "time": 3, "symbol": 4, "none": None}
    record = IndicatorsRecord("SPY", "1m", TIME, 0, True, values)
    (point,) = points(PointEncoder("indicators").take(batch([record])))
    assert point.fields == {
        "revision": 0,
        "exact": True,
        "MACD(12,26,9).signal": 1.5,
        "revision_": 2.5,
        "time_": 3.0,
        "symbol_": 4.0,
    }


def test_a_revision_has_the_key_of_what_it_revises_and_names_its_nulls() -> None:
    emptied = msgspec.structs.replace(BAR, vwap=None, sources=(), revision=1, filled=True)
    whole = msgspec.structs.replace(BAR, revision=2)
    found = points(PointEncoder("bars").take(batch([BAR, emptied, whole])))
    assert len({key(point) for point in found}) == 1
    assert [point.fields.get("nulls") for point in found] == [None, "vwap,sources", ""]
    assert "vwap" not in found[1].fields


def test_the_nulls_of_a_mapping_are_named_too() -> None:
    (record,) = RECORDS["indicators"]
    later = msgspec.structs.replace(record, revision=1)
    plain, revised = points(PointEncoder("indicators").take(batch([record, later])))
    assert (plain.fields.get("nulls"), revised.fields["nulls"]) == (None, "SMA(9)")


def test_controls_and_what_is_dead_or_unwritable_give_no_point() -> None:
    inputs = Inputs(partition=0, partitions=1, earliest_event_time=1_000, max_ahead=10)
    encoder = PointEncoder("ticks", inputs)
    trade = TradeRecord("SPY", 1.5, 2, TIME)
    replace = msgspec.structs.replace
    made = encoder.take(
        batch(
            [
                ClockRecord(TIME), b'{"type":"flush"}', trade, replace(trade, symbol="a b"),
                replace(trade, event_time=999), replace(trade, event_time=TIME + 10**12 + 11),
                replace(trade, price=1e12, size=1e3), b"", None, b"[", b"\xff", b'{"symbol":"SPY"}',
            ]
        )
    )  # fmt: skip
    assert made.counts == {"control": 2, "written": 1, "dead": 4, "malformed": 5}
    assert (list(made.offsets), made.next) == ([2], 12)
    free = PointEncoder("ticks").take(
        batch([replace(trade, symbol="a\n"), replace(trade, event_time=2**63 - 1), trade], base=900)
    )
    assert free.counts == {"unwritable": 2, "written": 1}
    assert list(free.offsets) == [902]


def test_another_partitions_symbol_is_dead() -> None:
    trades = [TradeRecord(name, 1, 1, TIME) for name in ("SPY", "IBM", "AAPL", "MSFT", "XYZ")]
    counts = [
        PointEncoder("ticks", Inputs(number, 3, 0, 10)).take(batch(trades)).counts["written"]
        for number in range(3)
    ]
    assert sum(counts) == 5
    assert max(counts) < 5


def test_moves_of_aliases_are_controls_and_an_empty_fetch_moves_on() -> None:
    encoder = PointEncoder("indicators")
    made = encoder.take(batch([alias_move("gbm", "champion", 1, None, None)]))
    assert (made.lines, made.counts, made.next) == ([], {"control": 1}, 1)
    assert encoder.take(batch([], base=9)).next == 9


def test_tags_that_the_protocol_cannot_carry_are_counted_and_an_empty_one_is_none() -> None:
    strange = [
        msgspec.structs.replace(PREDICTION, model=model, others={})
        for model in ("ends\\", "", "a\nb", "a, b=c\\d")
    ]
    made = PointEncoder("predictions").take(batch(strange))
    assert made.counts == {"unwritable": 3, "written": 1}
    assert points(made)[0].tags["model"] == "a, b=c\\d"


def test_room_is_at_least_a_nanosecond() -> None:
    with pytest.raises(ValueError, match="room=0: expected nanoseconds, at least 1"):
        PointEncoder("ticks", room=0)


#: Trades of three symbols whose times repeat, stand still, go back, and have any resolution.
_TRADES = st.lists(
    st.builds(
        TradeRecord,
        st.sampled_from(["A", "B", "C"]),
        st.floats(-1, 1),
        st.just(1.0),
        st.builds(
            lambda unit, count: TIME + unit * count,
            st.sampled_from([1, 999, 1_000, 1_000_000]),
            st.integers(0, 3),
        ),
    ),
    min_size=1,
    max_size=30,
)


@given(_TRADES, st.integers(0, 10**12), st.sampled_from([1_000, 1_000_000]), st.data())
def test_no_two_records_within_a_room_of_offsets_share_a_point(
    trades: list[TradeRecord], base: int, room: int, data: st.DataObject
) -> None:
    # Holes, as transactions leave them; all offsets lie within one room.
    holes = data.draw(st.sets(st.integers(0, room - 1), min_size=30, max_size=30))
    offsets = [base + place for place in sorted(holes)[: len(trades)]]
    found = points(PointEncoder("ticks", room=room).take(batch(trades, offsets)))
    assert len({key(point) for point in found}) == len(trades)
    for point, trade, offset in zip(found, trades, offsets, strict=True):
        remainder = point.fields.get("remainder", 0)
        assert isinstance(remainder, int)
        assert point.time // room * room + remainder == trade.event_time
        assert point.fields["offset"] == offset


@given(_TRADES, st.integers(0, 5), st.integers(1, 9))
def test_two_records_share_a_point_only_a_multiple_of_the_room_apart(
    trades: list[TradeRecord], base: int, room: int
) -> None:
    found = points(PointEncoder("ticks", room=room).take(batch(trades, base=base)))
    seen: dict[tuple[Any, ...], int] = {}
    for offset, (point, trade) in enumerate(zip(found, trades, strict=True), base):
        expected = (trade.symbol, trade.event_time // room, offset % room)
        assert seen.setdefault(key(point), offset) % room == offset % room
        assert point.time == expected[1] * room + expected[2]


@given(_TRADES, st.integers(0, 29), st.lists(st.integers(1, 9), max_size=10))
def test_a_replay_from_any_offset_in_any_fetches_gives_the_same_lines(
    trades: list[TradeRecord], since: int, sizes: list[int]
) -> None:
    whole = batch([*trades, ClockRecord(TIME), *trades])
    once = PointEncoder("ticks").take(whole)
    expected = [pair for pair in zip(once.offsets, once.lines, strict=True) if pair[0] >= since]
    again, rest = PointEncoder("ticks"), whole.since(since)
    found: list[tuple[int, str]] = []
    for piece in _pieces(rest, sizes):
        made = again.take(piece)
        found += zip(made.offsets, made.lines, strict=True)
        assert made.next == piece.next
    assert found == expected


def _pieces(rest: RecordBatch, sizes: Sequence[int]) -> Iterator[RecordBatch]:
    for size in sizes:
        yield rest.until(rest.base + size)
        rest = rest.since(rest.base + size)
        if not len(rest):
            return
    yield rest


@pytest.mark.realdata
@pytest.mark.slow
def test_each_trade_of_a_day_of_spy_has_a_point_of_its_own(realdata: Path) -> None:
    path = realdata / "equity/tick/spy/20131008_trade.zip"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the recorded data")
    source = open_source([path], "trades")
    source.verify()
    trades = [record for record in recorded(source) if isinstance(record, TradeRecord)]
    assert len({trade.event_time for trade in trades}) < len(trades) * 0.6
    made = PointEncoder("ticks").take(batch(trades))
    assert made.counts == {"written": len(trades)}
    times = [line.rsplit(" ", 1)[1] for line in made.lines]
    assert len(set(times)) == len(trades)
