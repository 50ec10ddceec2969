"""Everything that the three stores of a run hold, read back as tables of the log's names."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from app.archive.layout import archive_location
from app.archive.querying import query
from app.settings import Settings
from app.sinks.measurements import measurements_of
from tests.chaos.sinks_culprits import MEASUREMENTS
from tests.chaos.sinks_log import AVERAGES, FIELDS, PLACE
from tests.influx_server import InfluxServer
from tests.postgres_server import PostgresServer

#: Of a query; a store that does not answer is a finding, not a wait without end.
QUERY_SECONDS: Final = 300
_NULLS: Final = "nulls"
_KEYS: Final = ("symbol", "interval", "start")
#: Of bars, what all records of their topic have, and no point.
_CONSTANTS: Final = {"is_final": "true"}


# --- InfluxDB ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class InfluxStore:
    """The buckets of one deployment; `tokens` and `bucket` as `tests.influx.real.Account` has."""

    server: InfluxServer
    tokens: Mapping[str, str]
    bucket: str

    def tables(self) -> dict[str, Any]:
        """Ticks, bars and indicators, a row a point."""
        ticks = {name: kind for name, kind in FIELDS["ticks"].items() if name != "event_time"}
        ticks |= {"offset": pa.int64(), "remainder": pa.int64()}
        return {
            "ticks": self._points("ticks", f"{self.bucket}_ticks", ("symbol",), "time", ticks),
            **{
                topic: self._points(
                    topic,
                    self.bucket,
                    ("symbol", "interval"),
                    "start",
                    {**FIELDS[topic], _NULLS: pa.string()},
                )
                for topic in ("bars", "indicators")
            },
        }

    def _points(
        self, topic: str, bucket: str, tags: tuple[str, ...], time: str, fields: Mapping[str, Any]
    ) -> Any:
        """Join the fields of a measurement, each a query; what `nulls` names is null."""
        chosen = {
            name: kind
            for name, kind in fields.items()
            if name not in (*tags, time, *(_CONSTANTS if topic == "bars" else ()))
        }
        key = (*tags, time)
        keys = ", ".join(f'"{name}"' for name in key)
        joined, columns = "", [f'"{name}"' for name in key]
        with duckdb.connect() as connection:
            for number, (name, kind) in enumerate(chosen.items()):
                found = self._field(MEASUREMENTS[topic], bucket, tags, time, name, kind)
                connection.register(f"field{number}", found)
                joined += f" FULL JOIN field{number} USING ({keys})" if number else "field0"
                if name == _NULLS:
                    continue
                column = _with_usual(topic, name, f'field{number}."{name}"')
                if _NULLS in chosen:
                    # InfluxDB keeps what an older revision had.
                    named = f"list_contains(string_split(coalesce({_NULLS}, ''), ','), '{name}')"
                    column = f"CASE WHEN NOT {named} THEN {column} END"
                columns.append(f'{column} AS "{name}"')
            if topic == "bars":
                columns += [f'{value} AS "{name}"' for name, value in _CONSTANTS.items()]
            sql = f"SELECT {', '.join(columns)} FROM {joined}"
            return connection.sql(sql).to_arrow_table()

    def _field(
        self, measurement: str, bucket: str, tags: tuple[str, ...], time: str, name: str, kind: Any
    ) -> Any:
        kept = json.dumps(["_time", "_value", *tags])
        text = self._query(
            f'from(bucket: "{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)'
            f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{name}")'
            f" |> keep(columns: {kept}) |> group()"
        )
        types = {"_time": pa.timestamp("ns", "UTC"), "_value": kind}
        types |= dict.fromkeys(tags, pa.string())
        if not text.strip():
            rows = pa.schema(list(types.items())).empty_table()
        else:
            rows = _read(text, types)
        columns = {**{tag: rows[tag] for tag in tags}, time: rows["_time"].cast(pa.int64())}
        return pa.table({**columns, name: rows["_value"]})

    def _query(self, flux: str) -> bytes:
        body = {"query": flux, "type": "flux", "dialect": {"annotations": []}}
        request = urllib.request.Request(
            f"{self.server.url}/api/v2/query?org=candlewick",
            json.dumps(body).encode(),
            {
                "Authorization": f"Token {self.tokens['reader']}",
                "Content-Type": "application/json",
                "Accept": "application/csv",
            },
        )
        with urllib.request.urlopen(request, timeout=QUERY_SECONDS) as answer:
            found: bytes = answer.read()
        return found


def _with_usual(topic: str, name: str, column: str) -> str:
    """Return a column with what no field means; see `docs/influxdb.md`."""
    (measurement,) = measurements_of(topic)
    usual = measurement.usual
    return f"coalesce({column}, {usual[name]})" if name in usual else column


def _read(text: bytes, types: Mapping[str, Any]) -> Any:
    return csv.read_csv(
        io.BytesIO(text),
        convert_options=csv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            true_values=["true", "t"],
            false_values=["false", "f"],
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


# --- PostgreSQL -------------------------------------------------------------------------------


def postgres_tables(server: PostgresServer) -> dict[str, Any]:
    """Ticks, bars and indicators."""
    import psycopg

    found = {}
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for topic in FIELDS:
            types = {**FIELDS[topic], **PLACE}
            columns = ", ".join(_postgres_column(name) for name in types)
            sql = f"COPY (SELECT {columns} FROM candlewick.{topic}) TO STDOUT (FORMAT csv, HEADER)"
            with connection.cursor().copy(sql.encode()) as copy:
                found[topic] = _read(b"".join(map(bytes, copy)), types)
    return found


def _postgres_column(name: str) -> str:
    if name in AVERAGES:
        return f'("values"->>\'{name}\')::double precision AS "{name}"'
    return _sources if name == "sources" else f'"{name}"'


#: The same in DuckDB.
_sources: Final = "nullif(array_to_string(sources, ','), '') AS sources"


# --- the archive ------------------------------------------------------------------------------


def archive_tables(settings: Settings) -> dict[str, Any]:
    """Ticks, each version of bars and indicators, and what is raw."""
    place = archive_location(settings)
    positions = ", ".join(PLACE)
    found = {
        "raw": query(place, f"SELECT source_topic, value, {positions} FROM raw"),
        "ticks": query(place, f"SELECT {_names('ticks')}, {positions} FROM ticks"),
    }
    bars = [_sources if name == "sources" else f'"{name}"' for name in FIELDS["bars"]]
    found["bars"] = query(place, f"SELECT {', '.join(bars)}, {positions} FROM bars_versions")
    plain = [f'"{name}"' for name in FIELDS["indicators"] if name not in AVERAGES]
    rows = query(
        place, f'SELECT {", ".join(plain)}, "values", {positions} FROM indicators_versions'
    )
    values = rows["values"]
    for name in AVERAGES:
        rows = rows.append_column(name, pc.map_lookup(values, name, "first"))
    found["indicators"] = rows.drop_columns(["values"])
    return found


def _names(topic: str) -> str:
    return ", ".join(f'"{name}"' for name in FIELDS[topic])
