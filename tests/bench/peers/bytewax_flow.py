"""Child: Bytewax as its users write it, `python -m bytewax.run ...bytewax_flow:flow`.

Runs in the peers' own environment, with a recovery store. Time is that of the events alone: by its
default it also advances with the wall clock, as is right for a live stream, and a backlog's trades
would be late where they come slower than they once did. At the end of the log all windows close.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found, unused-ignore]
import orjson  # type: ignore[import-not-found, unused-ignore]
from bytewax.connectors.kafka import (  # type: ignore[import-not-found, unused-ignore]
    KafkaSink,
    KafkaSinkMessage,
    KafkaSource,
)
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found, unused-ignore]
from bytewax.operators import windowing  # type: ignore[import-not-found, unused-ignore]

from tests.bench.marks import arguments
from tests.bench.peers.bars import SECOND, add, begin
from tests.bench.peers.counting import Counter

TOLD = arguments()
#: Its documentation's figure where throughput counts.
BATCH = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
count = Counter(TOLD)


def decode(message: Any) -> tuple[str, dict[str, Any]]:
    """Symbol and trade."""
    trade = orjson.loads(message.value)
    return trade["symbol"], trade


def time_of(trade: dict[str, Any]) -> datetime:
    """Event time; the microseconds that a datetime has are enough for windows of a second."""
    return EPOCH + timedelta(microseconds=trade["event_time"] // 1_000)


def fold(bar: dict[str, Any], trade: dict[str, Any]) -> dict[str, Any]:
    """The bar with one more trade."""
    bar = add(bar, trade) if bar else begin(trade)
    count()
    return bar


def merge(_one: Any, _other: Any) -> Any:
    """Tumbling windows are never merged."""
    raise NotImplementedError("tumbling windows are never merged")


def encode(closed: tuple[str, tuple[int, dict[str, Any]]]) -> Any:
    """The record of a closed bar; windows are numbered from the epoch."""
    symbol, (window, bar) = closed
    value = orjson.dumps({"symbol": symbol, "start": window * SECOND, **bar})
    return KafkaSinkMessage(symbol.encode(), value)


flow = Dataflow("bars")
source = KafkaSource([TOLD["servers"]], [TOLD["topic"]], tail=False, batch_size=BATCH)
trades = op.map("decode", op.input("ticks", flow, source), decode)
clock = windowing.EventClock(
    time_of,
    wait_for_system_duration=timedelta(0),
    now_getter=lambda: EPOCH,
    to_system_utc=lambda _: None,
)
windower = windowing.TumblingWindower(length=timedelta(seconds=1), align_to=EPOCH)
bars = windowing.fold_window("bars", trades, clock, windower, dict, fold, merge, ordered=False)
op.output(
    "output",
    op.map("encode", bars.down, encode),
    KafkaSink([TOLD["servers"]], TOLD["output"]),
)
