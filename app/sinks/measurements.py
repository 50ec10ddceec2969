"""What becomes of each topic in InfluxDB: names, tags, times and fields, in one table.

`docs/influxdb.md` says the same for people; `tests/unit/test_sinks_measurements.py` holds it, and
the types of the records, against this table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from app.contracts.predictions import OutcomeRecord, PredictionRecord
from app.contracts.wire import (
    AnomalyRecord,
    BarRecord,
    IndicatorsRecord,
    QuoteBarRecord,
    QuoteRecord,
    TradeRecord,
)
from app.settings import PREFIX, SettingsError
from app.sinks.lines import Kind
from models.features.windows import FeatureRecord
from tables.activity.opened import ActivityBarRecord
from tables.crossing.records import PairRecord
from tables.quality.events import QualityEventRecord, QualitySummaryRecord

_F, _I, _B, _S = Kind.FLOAT, Kind.INTEGER, Kind.BOOLEAN, Kind.STRING
#: Field of the points with an ordinal: ns of the event time that their time has no room for.
REMAINDER: Final = "remainder"
#: Field of revisions: names of the fields that are null in it, joined by commas.
NULLS: Final = "nulls"
#: What InfluxDB has names of its own for, and we have.
RESERVED: Final = frozenset({"time", "_time", "_field", "_measurement", "_value", NULLS, REMAINDER})
#: Position of a record in its topic, as a field of the point.
OFFSET: Final = "offset"


@dataclass(frozen=True)
class Measurement:
    """How the points of one kind of record are made.

    Attributes:
        topic: that carries the records, without prefix and deployment (`app/topics.py`).
        record: their type; tags, fields and times are its attributes.
        tags: with `time` (and `ordinal`) the identity of a point; of few values.
        fields: by name; each is an attribute, but for `OFFSET` where the record has none.
        time: of the point, an attribute in ns.
        usual: values of fields that the points of a first version (revision 0) do not have: no
            field means that value. InfluxDB's work is by the field, and most bars are such.
        ordinal: attribute or `OFFSET` that tells points apart which share series and time.
        mapping: attribute of further fields, by name, all of `mapping_kind`, after `prefix`.
    """

    name: str
    topic: str
    record: type[msgspec.Struct]
    tags: tuple[str, ...]
    fields: Mapping[str, Kind]
    time: str = "start"
    ordinal: str | None = None
    mapping: str | None = None
    mapping_kind: Kind = Kind.FLOAT
    prefix: str = ""
    usual: Mapping[str, bool | int] = field(default_factory=dict)

    @property
    def revised(self) -> bool:
        """Whether its points are written again with higher revisions."""
        return "revision" in self.fields and self.ordinal is None


class AlternativePoint(msgspec.Struct, gc=False):
    """What one alias that serves nobody predicts: one of the `others` of a prediction."""

    symbol: str
    interval: str
    start: int
    revision: int
    model: str
    alias: str
    version: int
    prediction: float | None
    low: float | None
    high: float | None


def alternatives(record: PredictionRecord) -> list[AlternativePoint]:
    """Return the points of a prediction's other aliases."""
    return [
        AlternativePoint(
            record.symbol, record.interval, record.start, record.revision, record.model,
            alias, other.version, other.prediction, other.low, other.high,
        )
        for alias, other in record.others.items()
    ]  # fmt: skip


def _floats(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, _F)


_PRICES = ("open", "high", "low", "close")
_BAR = ("interval", "symbol")
_INTERVAL = _floats("prediction", "low", "high")

MEASUREMENTS: Final[tuple[Measurement, ...]] = (
    Measurement(
        "trades", "ticks", TradeRecord, ("symbol",),
        _floats("price", "size")
        | {OFFSET: _I, "sequence": _I}
        | dict.fromkeys(("trade_id", "venue", "conditions", "source"), _S),
        time="event_time", ordinal=OFFSET,
    ),
    Measurement(
        "quotes", "quotes", QuoteRecord, ("symbol",),
        _floats("bid", "ask", "bid_size", "ask_size")
        | {OFFSET: _I, "sequence": _I, "venue": _S, "source": _S},
        time="event_time", ordinal=OFFSET,
    ),
    Measurement(
        "bars", "bars", BarRecord, _BAR,
        _floats(*_PRICES, "volume", "vwap")
        | {"trades": _I, "revision": _I, "filled": _B, "sources": _S},
        usual={"revision": 0, "filled": False},
    ),
    Measurement(
        "quote_bars", "quotes.bars", QuoteBarRecord, _BAR,
        _floats(*(f"{side}_{each}" for side in ("bid", "ask", "mid") for each in _PRICES))
        | _floats("bid_size", "ask_size", "spread")
        | {"quotes": _I, "revision": _I, "sources": _S},
        usual={"revision": 0},
    ),
    Measurement(
        "activity_bars", "activity", ActivityBarRecord, _BAR,
        _floats(*_PRICES, "volume", "vwap")
        | {"trades": _I, "number": _I, "start": _I, "end": _I},
        ordinal="number",
    ),
    Measurement(
        "indicators", "indicators", IndicatorsRecord, _BAR,
        {"revision": _I, "exact": _B}, mapping="values",
    ),
    Measurement(
        "features", "features", FeatureRecord, ("kind", "symbol", "window"),
        {"end": _I, "complete": _B}, mapping="values",
    ),
    Measurement(
        "anomalies", "anomalies", AnomalyRecord, ("interval", "source", "symbol"),
        _floats("score", "threshold")
        | {"is_anomaly": _B, "reason": _S, "rules": _S, "learned": _B, "revision": _I},
        mapping="features", prefix="feature_",
    ),
    Measurement(
        "predictions", "predictions", PredictionRecord, ("interval", "model", "symbol"),
        {"revision": _I, "exact": _B, "horizon": _I, "alias": _S, "version": _I, **_INTERVAL},
    ),
    Measurement(
        "prediction_alternatives", "predictions", AlternativePoint,
        ("alias", "interval", "model", "symbol"),
        {"revision": _I, "version": _I, **_INTERVAL},
    ),
    Measurement(
        "prediction_outcomes", "predictions.outcomes", OutcomeRecord,
        ("alias", "interval", "model", "symbol"),
        {"version": _I, "served": _B, "horizon": _I, **_INTERVAL}
        | _floats("target", "error", "previous")
        | {"inside": _B, "realised": _I},
    ),
    Measurement(
        "quality_events", "quality", QualityEventRecord, ("input", "kind", "symbol"),
        {OFFSET: _I, "session": _I, "severity": _S, **_floats("value", "limit"), "details": _S},
        time="event_time", ordinal=OFFSET,
    ),
    Measurement(
        "quality_summaries", "quality", QualitySummaryRecord, ("input", "symbol"),
        dict.fromkeys(("revision", "session", "end", "open", "close"), _I)
        | {"is_final": _B, "method": _S, "completeness": _F}
        | dict.fromkeys(("expected", "seen", "longest_gap", "first_time", "last_time"), _I)
        | dict.fromkeys(("lag_p50", "lag_p95", "lag_p99"), _I),
        mapping="counts", mapping_kind=Kind.INTEGER, prefix="count_",
    ),
    Measurement(
        "pairs", "pairs", PairRecord, ("pair",),
        {"revision": _I, "void": _B, "left_out": _I, "interval": _S}
        | _floats(
            *("first_close", "second_close", "spread", "ratio", "score", "correlation", "beta")
        ),
    ),
)  # fmt: skip

#: How the records of a topic are read; those of `predictions` also make alternatives.
DECODERS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    topic: msgspec.json.Decoder(record)
    for topic, record in {
        "quality": QualityEventRecord | QualitySummaryRecord,
        **{
            each.topic: each.record
            for each in MEASUREMENTS
            if each.topic != "quality" and each.record is not AlternativePoint
        },
    }.items()
}


def measurements_of(topic: str, left_out: Collection[str] = ()) -> list[Measurement]:
    """Return what the records of a topic become.

    Args:
        left_out: fields that the points shall not have, such as `bars.sources`.

    Raises:
        ValueError: a topic whose records are not for InfluxDB.
    """
    found = [
        replace(
            each,
            fields={
                name: kind
                for name, kind in each.fields.items()
                if f"{each.name}.{name}" not in left_out
            },
        )
        for each in MEASUREMENTS
        if each.topic == topic
    ]
    if not found:
        known = ", ".join(sorted(DECODERS))
        raise ValueError(f"records of {topic!r} are not for InfluxDB: expected one of {known}")
    return found


def check_left_out(names: Collection[str]) -> None:
    """See that fields may be left out: texts alone, which nothing of ours computes with.

    Raises:
        SettingsError: one of them may not.
    """
    known = [
        f"{each.name}.{name}"
        for each in MEASUREMENTS
        for name, kind in each.fields.items()
        if kind is Kind.STRING
    ]
    for name in names:
        if name not in known:
            raise SettingsError(
                f"{PREFIX}INFLUX__LEAVE_OUT: {name!r}: expected of {', '.join(known)}"
            )
