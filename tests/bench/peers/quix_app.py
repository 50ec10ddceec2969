"""Child: Quix Streams as its users write it: a tumbling window, its state in RocksDB.

Runs in the peers' own environment. A symbol's bar is sent when its next one begins.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found, unused-ignore]

from tests.bench.marks import arguments
from tests.bench.peers.bars import add, begin
from tests.bench.peers.counting import Counter

MILLISECOND = 1_000_000


def event_time(value: Any, _headers: Any, _timestamp: Any, _kind: Any) -> int:
    """Milliseconds, which is what Quix counts time in."""
    return int(value["event_time"] // MILLISECOND)


def published(result: dict[str, Any], symbol: str, _timestamp: Any, _headers: Any) -> Any:
    """The record of a closed bar."""
    return {"symbol": symbol, "start": result["start"] * MILLISECOND, **result["value"]}


def main() -> None:
    """Run until told to stop."""
    told = arguments()
    app = Application(
        broker_address=told["servers"],
        consumer_group=told["app"],
        auto_offset_reset="earliest",
        state_dir=told["folder"],
        loglevel="WARNING",
        on_message_processed=Counter(told),
    )
    ticks = app.topic(
        told["topic"], key_deserializer="str", value_deserializer="json",
        timestamp_extractor=event_time,
    )  # fmt: skip
    output = app.topic(told["output"], key_serializer="str", value_serializer="json")
    bars = app.dataframe(ticks)
    bars = bars.tumbling_window(timedelta(seconds=1)).reduce(reducer=add, initializer=begin).final()
    bars.apply(published, metadata=True).to_topic(output)
    app.run()


if __name__ == "__main__":
    main()
