"""Tables of a store against those of the log: what is missing, unexpected, doubled or differing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from tests.chaos.sinks_culprits import ROOM
from tests.chaos.sinks_log import FIELDS

DEVIATIONS: Final = ("missing", "unexpected", "doubled", "differing")
#: Rows of each kind that are told.
EXAMPLES: Final = 5
_BAR = ("symbol", "interval", "start")
_PLACE = ("log_partition", "log_offset")


@dataclass(frozen=True)
class Expectation:
    """What a store must hold of a table.

    Attributes:
        sql: over the log's tables.
        key: the columns that name a row; all others must be equal.
    """

    sql: str
    key: tuple[str, ...]


def _newest(topic: str, columns: str, where: str) -> str:
    """The highest revision of each bar."""
    return (
        f"SELECT {columns} FROM {topic} WHERE {where} QUALIFY row_number() OVER "
        '(PARTITION BY symbol, "interval", "start" ORDER BY revision DESC, log_offset) = 1'
    )


def _listed(topic: str) -> str:
    return ", ".join(f'"{name}"' for name in FIELDS[topic])


_TICK_POINTS = f"""
    SELECT symbol, event_time // {ROOM} * {ROOM} + log_offset % {ROOM} AS "time", price, size,
        log_offset AS "offset", nullif(event_time % {ROOM}, 0) AS remainder, sequence, trade_id,
        venue, source
    FROM ticks WHERE NOT influx_refuses"""
#: By sink and table. The archive has every record; what is appended from `before` on may lack.
EXPECTED: Final[Mapping[str, Mapping[str, Expectation]]] = {
    "influx": {
        # Of two ticks with one point the later holds.
        "ticks": Expectation(
            f"SELECT * FROM ({_TICK_POINTS}) QUALIFY row_number() OVER "
            '(PARTITION BY symbol, "time" ORDER BY "offset" DESC) = 1',
            ("symbol", "time"),
        ),
        **{
            topic: Expectation(_newest(topic, _listed(topic), "NOT influx_refuses"), _BAR)
            for topic in ("bars", "indicators")
        },
    },
    "postgres": {
        "ticks": Expectation(
            f"SELECT {_listed('ticks')}, log_partition, log_offset, append_time FROM ticks "
            "WHERE NOT postgres_refuses",
            _PLACE,
        ),
        **{
            topic: Expectation(
                _newest(
                    topic,
                    f"{_listed(topic)}, log_partition, log_offset, append_time",
                    "NOT postgres_refuses",
                ),
                _BAR,
            )
            for topic in ("bars", "indicators")
        },
    },
    "archive": {
        **{
            topic: Expectation(
                f"SELECT {_listed(topic)}, log_partition, log_offset, append_time FROM {topic}",
                _PLACE,
            )
            for topic in FIELDS
        },
        "raw": Expectation(
            "SELECT source_topic, value, log_partition, log_offset, append_time FROM raw "
            "WHERE append_time < {before}",
            ("source_topic", *_PLACE),
        ),
    },
}


@dataclass
class TableVerdict:
    """One table of one store.

    Attributes:
        expected, found: rows.
        counts: by deviation; `doubled` are rows beyond the first of their key.
        examples: some of each, as text.
    """

    sink: str
    table: str
    expected: int = 0
    found: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DEVIATIONS, 0))
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether nothing deviates."""
        return not any(self.counts.values())

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        return f"{self.sink:9} {self.table:11} {self.expected:10,} of {self.found:10,}: {told}"


def compare(
    sink: str, table: str, log: Mapping[str, Any], found: Any, before: int = 2**63 - 1
) -> TableVerdict:
    """Compare a store's table with what it must hold.

    Args:
        log: the log's tables (`sinks_log.Log.tables`).
        found: the store's rows, of the same names.
        before: ns; records that were appended later count for nothing where they are archived raw.
    """
    wanted = EXPECTED[sink][table]
    verdict = TableVerdict(sink, table)
    with duckdb.connect() as connection:
        for name, rows in log.items():
            connection.register(name, rows)
        connection.register("arrived", found)
        bound = f"WHERE append_time < {before}" if "{before}" in wanted.sql else ""
        connection.execute(f"CREATE TEMP VIEW found AS SELECT * FROM arrived {bound}")
        # Once, not for each question.
        connection.execute(f"CREATE TABLE expected AS {wanted.sql.format(before=before)}")
        names = [name for name, *_ in connection.execute("DESCRIBE expected").fetchall()]
        verdict.expected = _number(connection, "SELECT count(*) FROM expected")
        verdict.found = _number(connection, "SELECT count(*) FROM found")
        for deviation, sql in _questions(wanted.key, names).items():
            count = "coalesce(sum(times - 1), 0)" if deviation == "doubled" else "count(*)"
            verdict.counts[deviation] = _number(connection, f"SELECT {count} FROM ({sql})")
            if verdict.counts[deviation]:
                rows = connection.execute(f"SELECT * FROM ({sql}) LIMIT {EXAMPLES}")
                verdict.examples[deviation] = [str(row) for row in rows.fetchall()]
    return verdict


def _questions(key: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    keys = ", ".join(f'"{name}"' for name in key)
    same = " AND ".join(f'e."{name}" = f."{name}"' for name in key)
    values = [name for name in names if name not in key]
    other = " OR ".join(f'e."{name}" IS DISTINCT FROM f."{name}"' for name in values)
    both = ", ".join(
        [*(f'e."{name}"' for name in key), *(f'e."{name}", f."{name}"' for name in values)]
    )
    return {
        "missing": f"SELECT {keys} FROM expected e ANTI JOIN found f ON {same}",
        "unexpected": f"SELECT {keys} FROM found f ANTI JOIN expected e ON {same}",
        "doubled": f"SELECT {keys}, count(*) AS times FROM found GROUP BY {keys} "
        "HAVING count(*) > 1",
        "differing": f"SELECT {both} FROM expected e JOIN found f ON {same} WHERE {other}",
    }


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return int(row[0])
