"""Points that a store refuses in a run, about 1 %: their names and times alone say which.

So they are the same whoever sends them, and however often, and the log tells afterwards which
records must have become dead letters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: One name of so many is drawn: that whose number has this rest.
SHARE, REST = 100, 7
#: InfluxDB's name for the points of a topic.
MEASUREMENTS = {"ticks": "trades", "bars": "bars", "indicators": "indicators"}
#: ns of event time that a point of a tick shares with others; its offset tells them apart.
ROOM = 1_000


def is_drawn(name: str) -> bool:
    """Whether a name is drawn; `POSTGRES_DRAWN` says the same in SQL."""
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) % SHARE == REST


#: A condition on `{name}`, an expression.
POSTGRES_DRAWN = f"('x' || substr(md5({{name}}), 1, 8))::bit(32)::bigint % {SHARE} = {REST}"
#: By table: the expression of `postgres_point`, and the column with its time.
POSTGRES_NAMES = {
    "ticks": ("symbol || ' ' || event_time || ' ' || log_offset", "event_time"),
    "bars": ("symbol || ' ' || \"interval\" || ' ' || \"start\"", '"start"'),
    "indicators": ("symbol || ' ' || \"interval\" || ' ' || \"start\"", '"start"'),
}


def tick_time(event_time: int, offset: int) -> int:
    """The time in ns that a tick's point has in InfluxDB (`docs/influxdb.md`)."""
    return event_time // ROOM * ROOM + offset % ROOM


def influx_point(topic: str, row: Mapping[str, Any], offset: int) -> tuple[str, int]:
    """The series of a record's point as line protocol has it, with its time; and the time (ns)."""
    if topic == "ticks":
        time, tags = tick_time(row["event_time"], offset), f"symbol={row['symbol']}"
    else:
        time, tags = row["start"], f"interval={row['interval']},symbol={row['symbol']}"
    return f"{MEASUREMENTS[topic]},{tags} {time}", time


def postgres_point(topic: str, row: Mapping[str, Any], offset: int) -> tuple[str, int]:
    """What names a record's row, and its time (ns)."""
    if topic == "ticks":
        return f"{row['symbol']} {row['event_time']} {offset}", row["event_time"]
    return f"{row['symbol']} {row['interval']} {row['start']}", row["start"]


#: By sink.
POINTS = {"influx": influx_point, "postgres": postgres_point}


@dataclass
class Culprits:
    """The points that one store refuses, for ever: those that are drawn of some stretches of time.

    Attributes:
        stretches: from the first ns of event time to before the last. Each must begin later than
            all that was sent when it is added, or a point is taken first and refused afterwards.
    """

    stretches: list[tuple[int, int]] = field(default_factory=list)

    def has(self, name: str, time: int) -> bool:
        """Whether a point is refused."""
        return any(begin <= time < end for begin, end in self.stretches) and is_drawn(name)
