"""The groups of settings of the sinks: what goes where, and how patiently. None changes results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from app.setting_types import Duration, Group, as_parts, written

#: Every driver there is; see `app/sinks/drivers.py`.
SINKS = ("archive", "influx", "postgres", "redis")
SinkName = Literal["archive", "influx", "postgres", "redis"]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("a sink is named twice")
    if "none" in value and len(value) > 1:
        raise ValueError("none stands alone")
    return tuple(sorted(value))


class SinkSettings(Group):
    """Which sinks there are, and what all of them do alike."""

    drivers: Annotated[
        tuple[SinkName | Literal["none"], ...], BeforeValidator(as_parts), AfterValidator(_distinct)
    ] = Field(
        default=(),
        description="archive, influx, postgres, redis, or none; empty: each that is configured, "
        "and the archive where InfluxDB is not",
    )
    in_worker: bool = Field(
        default=True, description="workers run them; false: `candlewick sink run`"
    )
    ticks: bool = Field(default=True, description="trades and quotes too, not outputs alone")
    tick_sample: int = Field(
        default=1, ge=1, le=1_000_000, description="InfluxDB: one tick of so many"
    )
    tick_resolution: Duration = written(
        "1us", description="InfluxDB: of the feed's times; 1ms for a feed of milliseconds"
    )
    max_held_bytes: int = Field(
        default=128 * 1024 * 1024, ge=1024 * 1024, description="a sink, unwritten: reading pauses"
    )
    timeout: Duration = written("10s", description="of one request")
    attempts: int = Field(default=4, ge=1, le=20, description="in a row; then the sink rests")
    first_backoff: Duration = written("500ms", description="bound of the first wait; then doubled")
    max_backoff: Duration = written("30s")
    rest: Duration = written("30s", description="of one that fails again and again")

    @model_validator(mode="after")
    def _check(self) -> SinkSettings:
        if self.tick_resolution < 1:
            raise ValueError("CANDLEWICK_SINKS__TICK_RESOLUTION: expected at least 1ns, as in 1us")
        return self


class ArchiveSettings(Group):
    """Parquet files; where no InfluxDB is configured they are on."""

    location: str | None = Field(
        default=None,
        min_length=1,
        description="a folder or s3://bucket/path, in it one a deployment; none: in data_dir",
    )
    rows: int = Field(default=500_000, ge=1, description="a flush, at most")
    age: Duration = written("1m", description="of the oldest record that waits, at most")
    upkeep_every: Duration = written(
        "1h", description="workers compact, drop and clean up; 0s: by command alone"
    )
    retention: Duration = written(
        "365d", description="of a day, and of its files where workers drop it; 0s: for ever"
    )


class InfluxSettings(Group):
    """InfluxDB 2.7 or later, by its v2 API."""

    url: Url | None = None
    organization: str = Field(default="candlewick", min_length=1)
    bucket: str = Field(
        default="candlewick",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="of outputs; ticks and what is older than the retention go to NAME_ticks and "
        "NAME_history",
    )
    token: SecretStr | None = None
    token_file: Path | None = Field(default=None, description="holds the token alone")
    reader_token: SecretStr | None = Field(default=None, description="of `candlewick reconcile`")
    reader_token_file: Path | None = Field(default=None, description="holds the reader's token")
    ca_file: Path | None = Field(default=None, description="PEM, whom to trust; none: the system's")
    batch: int = Field(default=5_000, ge=1, le=50_000, description="lines a request")
    delay: Duration = written("200ms", description="of the oldest record that waits, at most")
    requests: int = Field(default=2, ge=1, le=16, description="at once, of different partitions")
    leave_out: Annotated[tuple[str, ...], BeforeValidator(as_parts)] = Field(
        default=(), description="fields of text that are not written, as bars.sources"
    )
    tick_retention: Duration = written(
        "90d", description="by `candlewick influx setup`; at least 1h"
    )
    bar_retention: Duration = written("365d", description="of the other outputs")


class PostgresSettings(Group):
    """PostgreSQL 14 or later, with TimescaleDB where it has that."""

    url: SecretStr | None = Field(
        default=None, description="postgresql://user@host/database; holds a password at most once"
    )
    url_file: Path | None = Field(default=None, description="holds the address alone")
    table_schema: str = Field(
        default="candlewick", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="of all tables"
    )
    rows: int = Field(default=20_000, ge=1, description="a transaction, at most")
    delay: Duration = written("500ms", description="of the oldest record that waits, at most")
    retention: Duration = written("365d", description="by TimescaleDB, or `postgres retain`")
    compress_after: Duration = written("7d", description="where TimescaleDB is there")


class RedisSettings(Group):
    """Latest values in Redis 7 or later."""

    url: SecretStr | None = Field(default=None, description="redis[s]://user:password@host:port/0")
    url_file: Path | None = Field(default=None, description="holds the address alone")
    prefix: str = Field(
        default="candlewick", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="of all keys"
    )
    time_to_live: Duration = written("300s", description="of a value that is not written again")
    delay: Duration = written("50ms", description="of the oldest record that waits, at most")


def chosen_sinks(
    sinks: SinkSettings, influx: InfluxSettings, postgres: PostgresSettings, redis: RedisSettings
) -> tuple[str, ...]:
    """Return the names of the sinks of a deployment, sorted."""
    if "none" in sinks.drivers:
        return ()
    if sinks.drivers:
        return sinks.drivers
    found = [
        name
        for name, there in (
            ("influx", influx.url is not None),
            ("postgres", postgres.url is not None or postgres.url_file is not None),
            ("redis", redis.url is not None or redis.url_file is not None),
        )
        if there
    ]
    return tuple(sorted(found if "influx" in found else ["archive", *found]))
