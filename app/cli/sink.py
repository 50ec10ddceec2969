"""`candlewick sink`: run the sinks, ask whether they can be reached, how far they are; replay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from app import exits
from app.cli.common import (
    clear_progress,
    deployment_options,
    event_time,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    safe_text,
    say,
    show_progress,
    table_lines,
)
from app.settings import Settings, SettingsError
from app.sinks.settings import SINKS

if TYPE_CHECKING:
    from app.sinks.driver import Driver
    from app.sinks.progress import Standing
    from app.sinks.replaying import Replayed, Stretch

names_argument = click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(SINKS))
#: Where a replay may begin besides a time.
BEGINNING = "beginning"


def _append_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    return None if value == BEGINNING else event_time(ctx, param, value)


@click.group()
def sink() -> None:
    """Write what the engine computes to where people look: archive, InfluxDB and others.

    \b
    Which sinks a deployment has is CANDLEWICK_SINKS__DRIVERS. Workers run them,
    unless CANDLEWICK_SINKS__IN_WORKER is false. Example:
      candlewick sink status
      candlewick sink check influx
      candlewick sink replay influx --from 2026-11-20T14:30:00Z
    """


@sink.command("run")
@names_argument
@deployment_options
def run_sinks(names: tuple[str, ...], deployment: str | None, topic_prefix: str | None) -> None:
    """Run sinks in the foreground, until they are stopped by SIGTERM or Ctrl-C.

    All sinks of the deployment, or those that are named. They share the partitions with those of
    its workers: for deployments whose workers run none set CANDLEWICK_SINKS__IN_WORKER=false.
    What was not written when they are stopped is read again by the next start.

    \b
    Example:
      candlewick sink run influx
    """
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    drivers = _drivers(settings, names)
    with_address = reachable(settings)
    try:
        run_async(lambda: _run(with_address, drivers))
    except KeyboardInterrupt:
        say("the sinks are stopped")


@sink.command()
@names_argument
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Ask sinks whether they can be written to, and print what they say.

    All sinks of the deployment, or those that are named; no broker is needed. The archive writes a
    small file and removes it, Redis a key that lives for a second; nothing else is written.
    Exit code 1: one of them cannot be written to.

    \b
    --json prints an array of objects: sink, ok, lines, error. Example:
      candlewick sink check
    """
    drivers = _drivers(read_settings(), names)
    found = run_async(lambda: _check_all(drivers))
    if as_json:
        print_json(found)
    else:
        for each in found:
            for line in each["lines"] if each["ok"] else [each["error"]]:
                click.echo(f"{each['sink']}: {safe_text(line)}")
    if not all(each["ok"] for each in found):
        raise SystemExit(exits.FAILURE)


@sink.command()
@names_argument
@deployment_options
@json_option
def status(
    names: tuple[str, ...], deployment: str | None, topic_prefix: str | None, as_json: bool
) -> None:
    """Print how far sinks are: the offsets of their groups against the ends of their topics.

    GROUP is Stable while a process runs the sink, Empty or Dead while none does. LAG is in
    offsets, so markers of transactions count.

    \b
    --json prints an array of objects: sink, group, state, lag, topics (lag by
    topic, without prefix and deployment). Example:
      candlewick sink status
    """
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    drivers = _drivers(settings, names)
    with_address = reachable(settings)
    found = run_async(lambda: _standings(with_address, drivers))
    if as_json:
        print_json([each.to_json() for each in found])
    else:
        click.echo("\n".join(status_lines(found)))


@sink.command("replay")
@click.argument("name", metavar="NAME", type=click.Choice(SINKS))
@click.option(
    "--from",
    "begin",
    required=True,
    metavar="TIME",
    callback=_append_time,
    help=f"Records that Kafka took at this time or later; or {BEGINNING}.",
)
@click.option(
    "--to",
    "end",
    metavar="TIME",
    callback=event_time,
    help="Records before this time alone; else all up to the end of the log.",
)
@click.option(
    "--topic",
    "chosen",
    multiple=True,
    help="Of these topics alone, without prefix and deployment, such as bars; may be repeated.",
)
@deployment_options
@json_option
def replay_into(
    name: str,
    begin: int | None,
    end: int | None,
    chosen: tuple[str, ...],
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Read a stretch of the log again, and write it once more into the sink NAME.

    Nothing is doubled: records that are there are written over, or passed. The offsets of the
    sink's group stay as they are. TIME is when Kafka took the record, not its event time. Workers
    may go on writing to influx, postgres and redis; the archive has one writer, so stop its workers
    before. Without --to it ends when all is written that is committed by then; with --to, InfluxDB
    may show an older revision of what was revised later.

    \b
    --json prints sink, records, rows, dead, passed (by reason). Example:
      candlewick sink replay influx --from 2026-11-20T14:30:00Z --topic bars
    """
    from app.sinks.replaying import Stretch

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    if begin is not None and end is not None and begin >= end:
        raise click.UsageError("--from is not before --to")
    (driver,) = _drivers(settings, (name,))
    stretch = Stretch(begin, end, chosen)
    with_address = reachable(settings)
    done = run_async(lambda: _replay(with_address, driver, stretch))
    clear_progress()
    if as_json:
        print_json(done.to_json())
    else:
        click.echo("\n".join(replay_lines(done)))


def status_lines(standings: Sequence[Standing]) -> list[str]:
    """Return the table of sinks and topics."""
    rows = [("SINK", "GROUP", "TOPIC", "LAG")]
    for each in standings:
        rows += [(each.sink, each.state, topic, f"{lag:,}") for topic, lag in each.lags.items()]
        if not each.topics:
            rows.append((each.sink, each.state, "-", "-"))
    return table_lines(rows)


def replay_lines(done: Replayed) -> list[str]:
    """Return what a replay has done, one figure a line."""
    lines = [
        f"records        {done.records:,}",
        f"written        {done.rows:,}",
        f"dead           {done.dead:,}",
    ]
    return lines + [f"passed         {count:,} {why}" for why, count in sorted(done.passed.items())]


def _drivers(settings: Settings, names: Sequence[str]) -> list[Driver]:
    """Make the drivers that are named, or all of the deployment.

    Raises:
        SettingsError: there are none, or one cannot be made.
    """
    from app.sinks.drivers import chosen, make_driver

    wanted = names or chosen(settings)
    if not wanted:
        raise SettingsError(
            "CANDLEWICK_SINKS__DRIVERS=none: the deployment has no sink; expected one, or its name "
            "with the command"
        )
    return [make_driver(settings, name) for name in dict.fromkeys(wanted)]


async def _run(settings: Settings, drivers: Sequence[Driver]) -> None:
    from app.admin import ensure_topics
    from app.observe.tracing import make_tracing
    from app.sinks.service import running_sinks
    from app.streaming.compression import use_fast_lz4

    await ensure_topics(_with_sinks(settings, drivers))
    use_fast_lz4()
    tracing = make_tracing(settings, "sink")
    try:
        async with running_sinks(settings, drivers, tracing) as found:
            say(f"writing to {', '.join(each.sink for each in found)}")
            await asyncio.Event().wait()
    finally:
        if tracing is not None:
            await tracing.close()


def _with_sinks(settings: Settings, drivers: Sequence[Driver]) -> Settings:
    """Return the settings with these sinks: their topic of dead letters is to be there."""
    names = tuple(sorted(driver.NAME for driver in drivers))
    return settings.model_copy(
        update={"sinks": settings.sinks.model_copy(update={"drivers": names})}
    )


async def _check_all(drivers: Sequence[Driver]) -> list[dict[str, Any]]:
    from app.sinks.driver import SinkError

    found: list[dict[str, Any]] = []
    for driver in drivers:
        lines: Sequence[str] = []
        error = None
        try:
            lines = await driver.check()
        except SinkError as fault:
            error = " ".join(str(fault).split())
        finally:
            await driver.close()
        found.append({"sink": driver.NAME, "ok": error is None, "lines": [*lines], "error": error})
    return found


async def _standings(settings: Settings, drivers: Sequence[Driver]) -> list[Standing]:
    from app.sinks.progress import standings

    return await standings(settings, drivers)


async def _replay(settings: Settings, driver: Driver, stretch: Stretch) -> Replayed:
    from app.admin import ensure_topics
    from app.sinks.letters import DeadLetters
    from app.sinks.replaying import Replay

    await ensure_topics(_with_sinks(settings, [driver]))
    letters = DeadLetters(settings)
    try:
        return await Replay(settings, driver, letters).run(
            stretch, lambda done, total: show_progress("written", done, total)
        )
    finally:
        await letters.close()
