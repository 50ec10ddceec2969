"""What a test has in a real InfluxDB: buckets of its own, with their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.influx.setup import set_up
from app.settings import Settings
from tests.influx_server import InfluxServer


@dataclass
class Account:
    """Attributes: settings of a sink that writes there."""

    server: InfluxServer
    bucket: str
    tokens: Mapping[str, str]
    settings: Settings

    @classmethod
    def make(
        cls, server: InfluxServer, operator: str | None, bucket: str, **groups: Any
    ) -> Account:
        """Set InfluxDB up for a bucket; `groups` are changes such as `sinks={...}`."""
        tokens: dict[str, str] = {}
        set_up(settings_of(server, bucket, **groups), operator, tokens.__setitem__)
        settings = settings_of(server, bucket, token=tokens["writer"], **groups)
        return cls(server, bucket, tokens, settings)

    def query(self, flux: str, token: str = "reader") -> list[dict[str, str]]:
        return self.server.query("candlewick", self.tokens[token], flux)

    def rows(self, measurement: str, bucket: str = "") -> list[dict[str, str]]:
        """All points of a measurement, a row each, by time and then series."""
        return self.query(
            f'from(bucket: "{self.bucket}{bucket}") |> range(start: 0, stop: 2100-01-01T00:00:00Z)'
            f' |> filter(fn: (r) => r._measurement == "{measurement}")'
            ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
            ' |> group() |> sort(columns: ["_time"])'
        )

    def totals(self, measurement: str, field: str, bucket: str = "") -> tuple[int, float]:
        """Number and sum of a field's values."""
        found = []
        for how in ("count", "sum"):
            rows = self.query(
                f'from(bucket: "{self.bucket}{bucket}")'
                " |> range(start: 0, stop: 2100-01-01T00:00:00Z)"
                f' |> filter(fn: (r) => r._measurement == "{measurement}"'
                f' and r._field == "{field}") |> group() |> {how}()'
            )
            found.append(float(rows[0]["_value"]) if rows else 0.0)
        return int(found[0]), found[1]


class Addressed(Protocol):
    """What has an address: InfluxDB, or what stands before it."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...


def settings_of(
    server: Addressed, bucket: str, token: str | None = None, **groups: Any
) -> Settings:
    chosen: dict[str, Any] = {
        "influx": {"url": server.url, "bucket": bucket, "token": token},
        "sinks": {"timeout": "3s"},
    }
    for name, changes in groups.items():
        chosen[name] = {**chosen.get(name, {}), **changes}
    return Settings(**chosen)
