"""`candlewick archive`: what the archive holds, and what keeps it small and whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app import exits
from app.cli.common import (
    DURATION,
    deployment_options,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    say,
    table_lines,
)
from app.durations import NANOSECONDS, format_duration
from app.settings import Settings

if TYPE_CHECKING:
    from app.archive.inspecting import TopicFigures
    from app.sinks.archive_logs import Log
    from app.sinks.driver import Place
    from models.predicting.registry_store import Store

Command = TypeVar("Command", bound=Callable[..., Any])

COLUMNS = ("TOPIC", "FROM", "TO", "DAYS", "FILES", "ROWS", "BYTES", "PARTITIONS", "LAG", "LOST")
DAY = 24 * 3600 * NANOSECONDS["s"]
#: A file is written before a manifest names it: younger ones without a name may be of a flush.
YOUNGEST = 10 * 60 * NANOSECONDS["s"]
#: Seconds for a broker that is only asked for what it may add.
SECONDS = 2.0


def archive_options(command: Command) -> Command:
    """Add `--archive`, the options that name a deployment, and `--json`."""
    place = click.option(
        "--archive",
        "location",
        metavar="LOCATION",
        help="A folder or an address such as s3://bucket/archive; else the deployment's.",
    )
    return place(deployment_options(json_option(command)))


@click.group()
def archive() -> None:
    """Look at the archive; keep it small; see that it is whole.

    \b
    Workers write it where no InfluxDB is configured, or where CANDLEWICK_SINKS__DRIVERS names
    it, and keep it small each `CANDLEWICK_ARCHIVE__UPKEEP_EVERY`. `candlewick query` reads it. By
    command, beside the workers:
      candlewick archive compact && candlewick archive retain && candlewick archive clean
    """


@archive.command()
@archive_options
def status(
    location: str | None, deployment: str | None, topic_prefix: str | None, as_json: bool
) -> None:
    """Print what is in the archive by topic, and how far it is behind Kafka.

    FROM and TO are UTC days of event times. LAG are offsets of committed records and markers that
    are not archived yet, known with a broker, and only of the deployment's own archive. LOST are
    offsets that Kafka's retention removed before they were archived. Records that are none of their
    topic's are rows of raw.

    \b
    --json prints location, manifest (the newest), replaced (files that wait for `clean`) and
    topics: topic, days, first, last, files, rows, bytes, lag (null: not known), partitions
    (partition, next, log, lost). Example:
      candlewick archive status
    """
    from app.archive.inspecting import topic_figures
    from app.archive.layout import archived_topics
    from app.archive.manifest import read_state

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _one_line():
        store = _store(settings, location)
        state = read_state(store)
    figures = topic_figures(state)
    logs = None
    if location is None:
        known = {each.topic for each in figures}
        logs = _logs(settings, known.union(archived_topics(ticks=settings.sinks.ticks)))
    lags = _lags(figures, logs)
    if as_json:
        topics = [each.to_json() | {"lag": lags.get(each.topic)} for each in figures]
        where = {"location": store.where("").rstrip("/"), "manifest": state.number}
        print_json(where | {"replaced": len(state.removed), "topics": topics})
        return
    rows = [_row(each, lags.pop(each.topic, None)) for each in figures]
    # What Kafka has and the archive does not hold anything of.
    rows += [(name, *"-" * 7, f"{lag:,}", "-") for name, lag in sorted(lags.items()) if lag]
    click.echo("\n".join(table_lines([COLUMNS, *rows])))
    say(f"{store.where('').rstrip('/')}: manifests up to {state.number:,}")
    if state.removed:
        say(f"{_files(len(state.removed))} replaced or dropped; `candlewick archive clean`")


def _row(figures: TopicFigures, lag: int | None) -> tuple[str, ...]:
    return (
        figures.topic,
        figures.first or "-",
        figures.last or "-",
        *(f"{each:,}" for each in (figures.days, figures.files, figures.rows, figures.bytes)),
        f"{len(figures.partitions):,}",
        "-" if lag is None else f"{lag:,}",
        f"{sum(each.lost for each in figures.partitions):,}",
    )


def _logs(settings: Settings, topics: set[str]) -> Mapping[Place, Log] | None:
    """Return what Kafka has; None, and a line that says why, where no broker tells."""
    from aiokafka.errors import KafkaError

    from app.connection import AdminError
    from app.sinks.archive_logs import topic_logs

    try:
        with_address = reachable(settings)
        return run_async(lambda: topic_logs(with_address, sorted(topics), SECONDS))
    except (AdminError, KafkaError, OSError) as error:
        say(f"LAG is not known: {error or type(error).__name__}")
        return None


def _lags(figures: list[TopicFigures], logs: Mapping[Place, Log] | None) -> dict[str, int]:
    """Return the offsets by topic that are in Kafka and not in the archive."""
    held = {(each.topic, one.partition): one for each in figures for one in each.partitions}
    lags: dict[str, int] = {}
    for place, log in (logs or {}).items():
        position = held.get(place)
        goes_on = position is not None and position.log in ("", log.id)
        begin = max(log.first, position.next) if position is not None and goes_on else log.first
        lags[place.topic] = lags.get(place.topic, 0) + max(0, log.end - begin)
    return lags


@archive.command()
@archive_options
def compact(
    location: str | None, deployment: str | None, topic_prefix: str | None, as_json: bool
) -> None:
    """Put the small files of past days together, sorted by what names their rows.

    A day is left alone until an hour after its end (UTC); what comes later is in files of its own,
    which the next compaction takes. Workers and queries go on meanwhile. The old files stay until
    `clean` removes them.

    \b
    --json prints an array: topic, day, files (that became one), rows, bytes. Example:
      candlewick archive compact
    """
    from app.archive.compacting import compact as run

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _one_line():
        done = run(_store(settings, location), time.time_ns())
    if as_json:
        print_json(
            [
                {
                    "topic": new.topic,
                    "day": new.day,
                    "files": len(old),
                    "rows": new.rows,
                    "bytes": new.bytes,
                }
                for new, old in done
            ]
        )
        return
    for new, old in done:
        click.echo(f"{new.topic} {new.day}: {_files(len(old))} to 1, {new.rows:,} rows")
    say(f"{_files(sum(len(old) for _, old in done))} to {len(done):,}")


@archive.command()
@click.option(
    "--retention",
    type=DURATION,
    help="Of whole days, such as 90d; the setting `archive.retention`. 0s: for ever.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@archive_options
def retain(
    retention: int | None,
    dry_run: bool,
    location: str | None,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Drop the days whose event times are older than the retention.

    Also days of old data that was replayed today. Positions stay, so nothing is read again. The
    files stay until `clean` removes them.

    \b
    --json prints an array: topic, day, path, rows, bytes. Example:
      candlewick archive retain --retention 90d --dry-run
    """
    from app.archive.compacting import expired
    from app.archive.compacting import retain as run
    from app.archive.manifest import Part, read_state

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    kept = settings.archive.retention if retention is None else retention
    dropped: list[Part] = []
    if kept:
        days, now = -(-kept // DAY), time.time_ns()
        with _one_line():
            store = _store(settings, location)
            dropped = expired(read_state(store), now, days) if dry_run else run(store, now, days)
    if as_json:
        print_json(
            [
                {name: getattr(each, name) for name in ("topic", "day", "path", "rows", "bytes")}
                for each in dropped
            ]
        )
        return
    by_day: dict[tuple[str, str], int] = {}
    for each in dropped:
        by_day[each.topic, each.day] = by_day.get((each.topic, each.day), 0) + each.rows
    for (topic, day), rows in sorted(by_day.items()):
        click.echo(f"{topic} {day}: {rows:,} rows")
    word = "would be dropped" if dry_run else "dropped"
    kept_for = f"kept are {format_duration(kept)}" if kept else "everything is kept"
    say(f"{_files(len(dropped))} {word}; {kept_for}")


@archive.command()
@click.option(
    "--age",
    type=DURATION,
    default="24h",
    show_default=True,
    help="Younger files stay, for flushes and queries on their way; at least 10m.",
)
@archive_options
def clean(
    age: int,
    location: str | None,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Remove files that were replaced or dropped, that no manifest names, and old manifests.

    \b
    --json prints an array of the paths. Example:
      candlewick archive clean
    """
    from app.archive.compacting import clean as run

    if age < YOUNGEST:
        raise click.UsageError(f"--age {format_duration(age)}: expected at least 10m")
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _one_line():
        removed = run(_store(settings, location), time.time_ns(), age)
    if as_json:
        print_json(removed)
    else:
        say(f"{_files(len(removed))} removed")


@archive.command("check")
@archive_options
def check_archive(
    location: str | None, deployment: str | None, topic_prefix: str | None, as_json: bool
) -> None:
    """Read the whole archive and say what does not fit.

    Every file that a manifest names must be there, with its size and rows; no offset may be a row
    twice, and none be missing between two flushes. The exit code is 1 where anything is wrong.

    \b
    --json prints faults (texts), manifests, files, rows, unnamed (files that no manifest names),
    lost (offsets by topic that Kafka had removed before they were archived). Example:
      candlewick archive check
    """
    from dataclasses import asdict

    from app.archive.checking import check

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _one_line():
        found = check(_store(settings, location))
    if as_json:
        print_json(asdict(found))
    else:
        for fault in found.faults:
            click.echo(fault)
        for topic, count in found.lost.items():
            say(f"{topic}: {count:,} offsets were gone from Kafka before they were archived")
        if found.unnamed:
            say(f"{_files(found.unnamed)} that no manifest names; `candlewick archive clean`")
        say(
            f"{found.manifests:,} manifests, {_files(found.files)}, {found.rows:,} rows: "
            f"{len(found.faults) or 'no'} fault{'' if len(found.faults) == 1 else 's'}"
        )
    if found.faults:
        raise SystemExit(exits.FAILURE)


def _store(settings: Settings, location: str | None) -> Store:
    from app.archive.layout import archive_location
    from models.predicting.registry_store import open_store

    return open_store(location or archive_location(settings))


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


@contextmanager
def _one_line() -> Iterator[None]:
    """Make what is wrong with an archive an error of one line."""
    from app.archive.manifest import ArchiveError
    from app.archive.querying import QueryError
    from app.run.errors import RunError

    try:
        yield
    except (ArchiveError, QueryError, ValueError, ImportError) as error:
        raise RunError(str(error)) from error
