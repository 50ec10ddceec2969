"""Which topics have columns of their own in the archive, and where a row's file lies.

The columns are the fields of the topic's contract (`columns.py` derives them), behind them
`log_partition`, `log_offset` and `append_time` (ns): where the record stood in its topic and when
the broker took it. Records of other kinds on the same topic, and topics that are not listed, go
into `raw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from app.contracts import wire
from app.contracts.portfolio import (
    LimitRecord,
    PortfolioRecord,
    PositionRecord,
    TransactionRecord,
)
from app.contracts.predictions import OutcomeRecord, PredictionRecord
from app.durations import NANOSECONDS
from app.identity import deployment_name
from app.settings import Settings
from app.topics import AGENT_TOPICS, INPUTS, input_topic, output_topic
from models.features.windows import FeatureRecord
from tables.activity.opened import ActivityBarRecord
from tables.crossing.records import PairRecord
from tables.quality.events import QualityEventRecord

DAY: Final = 24 * 3600 * NANOSECONDS["s"]
#: Records that are not of their topic's contract, as they were.
RAW: Final = "raw"
#: Records that are in other topics, too, or made of such: clean ticks, and what agents route.
_REPEATED: Final = frozenset({"ticks.clean", "quotes.clean", "pairs.input", "portfolio.input"})
_BAR: Final = ("symbol", "interval", "start")


@dataclass(frozen=True)
class Layout:
    """The rows of one topic.

    Attributes:
        record: the contract; a record that does not decode as it is `raw`.
        time: the field with the event time, ns, that gives the day.
        identity: what names a row together with its `revision`, of which the highest holds; empty
            where rows are never revised.
        order: how compacted files are sorted, before the position in the log.
    """

    record: type[msgspec.Struct]
    time: str
    identity: tuple[str, ...] = ()
    order: tuple[str, ...] = ("symbol",)

    @property
    def sorting(self) -> tuple[str, ...]:
        return (*(self.identity or (*self.order, self.time)), "log_partition", "log_offset")


def _bars(record: type[msgspec.Struct]) -> Layout:
    return Layout(record, "start", identity=_BAR)


LAYOUTS: Final[Mapping[str, Layout]] = {
    "ticks": Layout(wire.TradeRecord, "event_time"),
    "quotes": Layout(wire.QuoteRecord, "event_time"),
    "transactions": Layout(TransactionRecord, "event_time", order=("account",)),
    "bars": _bars(wire.BarRecord),
    "quotes.bars": _bars(wire.QuoteBarRecord),
    "activity": Layout(ActivityBarRecord, "start"),
    "indicators": _bars(wire.IndicatorsRecord),
    "features": Layout(FeatureRecord, "start"),
    "anomalies": Layout(wire.AnomalyRecord, "start", identity=("source", *_BAR)),
    "quality": Layout(QualityEventRecord, "event_time"),
    "pairs": Layout(PairRecord, "start", identity=("pair", "start")),
    "portfolio.positions": Layout(PositionRecord, "time", order=("account", "symbol")),
    "portfolio.values": Layout(PortfolioRecord, "time", order=("account",)),
    "portfolio.limits": Layout(LimitRecord, "time", order=("account",)),
    "predictions": Layout(PredictionRecord, "start", identity=(*_BAR, "model")),
    "predictions.outcomes": Layout(OutcomeRecord, "start"),
}


def archive_name(settings: Settings, topic: str) -> str:
    """Return the name that a topic of the deployment, or an input, has in its archive.

    Raises:
        ValueError: the topic is another deployment's.
    """
    own = f"{deployment_name(settings)}."
    if topic.startswith(own):
        return topic.removeprefix(own)
    name = topic.removeprefix(settings.topic_prefix)
    if topic.startswith(settings.topic_prefix) and name in INPUTS:
        return name
    raise ValueError(f"{topic}: neither an input nor a topic of {deployment_name(settings)}")


def archived_topics(*, ticks: bool = True) -> tuple[str, ...]:
    """Return the topics that an archive takes, sorted: `ticks` says whether trades and quotes too.

    Those without columns of their own are `raw`. Left out is what others of them hold already, and
    what is sent at most once or is state (forming bars, changelogs).
    """
    outputs = {name for each in AGENT_TOPICS.values() for name, _ in each.outputs.values()}
    inputs = {name for name in INPUTS if ticks or name not in ("ticks", "quotes")}
    return tuple(sorted((outputs | inputs) - _REPEATED))


def broker_topic(settings: Settings, topic: str) -> str:
    """Return the broker's name of a topic of the archive; `archive_name` is the way back."""
    return input_topic(settings, topic) if topic in INPUTS else output_topic(settings, topic)


def archive_location(settings: Settings) -> str:
    """Return where a deployment's archive is unless another place is asked for.

    Each deployment has a folder of its own below `archive.location`: two would take each other's
    partitions for their own.
    """
    below = settings.archive.location or str(settings.data_dir / "archive")
    return f"{below.rstrip('/')}/{deployment_name(settings)}"


def day_of(number: int) -> date:
    """Return the day so many days after 1970-01-01."""
    return datetime.fromtimestamp(number * 86_400, UTC).date()


def folder(topic: str, day: date) -> str:
    """Return the folder of a topic's rows of one UTC day, below the archive."""
    return f"topic={topic}/year={day.year:04d}/month={day.month:02d}/day={day.day:02d}"


def view_name(topic: str) -> str:
    """Return a topic's name in SQL: `quotes.bars` is `quotes_bars`."""
    return topic.replace(".", "_").replace("-", "_")


def fields_of(record: type[msgspec.Struct]) -> tuple[Any, ...]:
    """Return what msgspec knows of a record's fields."""
    found: Any = msgspec.inspect.type_info(record)
    return tuple(found.fields)
