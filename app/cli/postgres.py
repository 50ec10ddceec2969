"""`candlewick postgres`: make the tables, ask for them, end old rows, empty them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.cli.common import (
    deployment_options,
    json_option,
    print_json,
    read_settings,
    run_async,
    say,
)
from app.cli.reset import yes_option

INSTALL = "pip install 'candlewick[postgres]'"


@contextmanager
def _told() -> Iterator[None]:
    """Make one line of what goes wrong.

    Raises:
        RunError: the server, or a package that is missing.
    """
    from app.run.errors import RunError
    from app.sinks.driver import SinkError

    try:
        yield
    except SinkError as error:
        raise RunError(str(error)) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "app":
            raise
        raise RunError(f"{error.name} is not installed: {INSTALL}") from None


@click.group()
def postgres() -> None:
    """Make and look after the tables of the PostgreSQL sink.

    The server is CANDLEWICK_POSTGRES__URL, or in the file CANDLEWICK_POSTGRES__URL_FILE. The sink
    never makes or alters a table: migrate does, by a user who may.

    \b
    Needs `pip install 'candlewick[postgres]'`. Example:
      candlewick postgres migrate
      candlewick postgres check
    """


@postgres.command()
@deployment_options
@json_option
def migrate(deployment: str | None, topic_prefix: str | None, as_json: bool) -> None:
    """Create the tables, or bring them to the version that this candlewick writes.

    All of it in one transaction; what is there already stays as it is, so it may be run again.
    With TimescaleDB the tables become hypertables, and its policies those of the settings.

    \b
    --json prints an array of lines. Example:
      candlewick postgres migrate
    """
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _told():
        from app.sinks.postgres_admin import migrate as run

        _print(run(settings), as_json)


@postgres.command()
@deployment_options
@json_option
def check(deployment: str | None, topic_prefix: str | None, as_json: bool) -> None:
    """See that the sink could write, and print what is there: versions, positions, sizes.

    \b
    --json prints an array of lines. Example:
      candlewick postgres check
    """
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _told():
        from app.sinks.postgres import PostgresDriver

        driver = PostgresDriver(settings)

        async def ask() -> list[str]:
            try:
                return list(await driver.check())
            finally:
                await driver.close()

        _print(run_async(ask), as_json)


@postgres.command()
@deployment_options
@json_option
def retain(deployment: str | None, topic_prefix: str | None, as_json: bool) -> None:
    """Delete rows whose event time is longer ago than `postgres.retention`, 365d unless set.

    A day's rows are one transaction. TimescaleDB does that by itself: then nothing is done. Have
    cron or a timer run it, daily.

    \b
    --json prints an object: rows that are gone, by table. Example:
      candlewick postgres retain
    """
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _told():
        from app.sinks.postgres_admin import retain as run

        gone = dict(run(settings, time.time_ns()))
    if as_json:
        print_json(gone)
        return
    for name, rows in gone.items():
        if rows:
            click.echo(f"{name}: {rows:,} rows")
    say(f"{sum(gone.values()):,} rows are gone")


@postgres.command()
@click.argument("topics", nargs=-1, metavar="[TOPIC]...")
@deployment_options
@yes_option
@json_option
def empty(
    topics: tuple[str, ...],
    deployment: str | None,
    topic_prefix: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Take away all rows of topics, and up to where they are held: the sink writes them anew.

    Of all topics that the deployment makes, where none is named: its inputs (ticks, quotes,
    transactions) stay. This is for a deployment that was reset, or topics that were made anew.

    \b
    --json prints an array of the tables. Example:
      candlewick postgres empty bars indicators
    """
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _told():
        from app.sinks.postgres_admin import empty as run
        from app.sinks.postgres_tables import SHARED, TOPICS

        unknown = sorted(set(topics) - set(TOPICS))
        if unknown:
            raise click.UsageError(f"{unknown[0]}: expected of {', '.join(TOPICS)}")
        chosen = list(topics) or [each for each in TOPICS if each not in SHARED]
        say(f"topics: {', '.join(chosen)}")
        if not yes:
            schema = settings.postgres.table_schema
            click.confirm(f"remove their rows from schema {schema!r}?", abort=True, err=True)
        names = run(settings, chosen)
    say("emptied")
    if as_json:
        print_json(names)


def _print(lines: list[str], as_json: bool) -> None:
    if as_json:
        print_json(lines)
    else:
        click.echo("\n".join(lines))
