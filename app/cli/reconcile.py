"""`candlewick reconcile`: are the published bars those of the log?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from app import exits
from app.cli.common import (
    SHARE,
    clear_progress,
    deployment_options,
    event_time,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    say,
    show_progress,
    table_lines,
)
from app.durations import NANOSECONDS
from app.settings import Settings
from app.topics import WINDOWED

if TYPE_CHECKING:
    from app.reconcile.compare import Difference, Drift
    from app.reconcile.judging import Span

#: Why windows are left out, in words.
LEFT_OUT = {
    "open": "not closed yet",
    "moving": "changed meanwhile",
    "cut": "no longer whole in the log",
    "unwritten": "not written by the sink yet",
}


#: Where bars are compared that are not the topic's, in words.
STORES = {"archive": "the archive", "influx": "InfluxDB"}


@dataclass(frozen=True)
class _Places:
    """What is compared: bars of the topic or a store, records of Kafka or the archive."""

    against: str
    log: str
    archive: str | None


@click.command()
@click.option("--from", "begin", metavar="TIME", callback=event_time, help="Bars that start here.")
@click.option("--to", "end", metavar="TIME", callback=event_time, help="Bars that start before.")
@click.option("--agent", type=click.Choice(WINDOWED), help="Only this agent's; else all agents'.")
@click.option(
    "--against",
    type=click.Choice(("topic", "archive", "influx")),
    default="topic",
    show_default=True,
    help="Whose bars are compared.",
)
@click.option(
    "--log",
    "log",
    type=click.Choice(("kafka", "archive")),
    default="kafka",
    show_default=True,
    help="Where the ticks are read; the archive's, and behind them Kafka's.",
)
@click.option(
    "--archive",
    metavar="LOCATION",
    help="A folder or an address such as s3://bucket/archive; else the deployment's.",
)
@click.option(
    "--threshold",
    type=SHARE,
    default="0.5%",
    show_default=True,
    help="Drift of a field above which the exit code is 1.",
)
@click.option(
    "--list",
    "count",
    type=click.IntRange(0, 10_000),
    default=0,
    help="List so many differences, the worst first.",
)
@deployment_options
@json_option
def reconcile(
    begin: int | None,
    end: int | None,
    agent: str | None,
    against: str,
    log: str,
    archive: str | None,
    threshold: float,
    count: int,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Recompute bars in batch from the log and compare them with the published ones.

    The log is read from its beginning to where the deployment has applied it; a partition with
    corrections three times. The drift of a field is the share of bars that differ in it; missing
    and extra bars differ in every field.
    Zero is the goal. Exit code 1: a field drifts by more than the threshold.

    Published are those of the topic; or, by --against, those that the sinks have written into the
    archive or InfluxDB (read with the reader's token, CANDLEWICK_INFLUX__READER_TOKEN_FILE). What
    a sink has not written yet is left out and counted. docs/reconcile.md tells more.

    \b
    --json prints an array of objects, one an agent: agent, records, bars, missing,
    extra, left_out, fields (compared, unequal, drift, largest_absolute,
    largest_relative), differences, notes; with --against archive or influx also
    against, doubled; shares are from 0 to 1. Examples:
      candlewick reconcile --from 2026-11-20T14:30:00Z --to 2026-11-20T21:00:00Z --list 20
      candlewick reconcile --against archive --log archive
    """
    from app.reconcile.judging import FOREVER, NEVER, Span
    from app.reconcile.reading import why_not

    if archive is not None and "archive" not in (against, log):
        raise click.UsageError("--archive needs --against archive or --log archive")
    chosen = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    windowed = tuple(each for each in chosen.agents if each in WINDOWED)
    agents = windowed if agent is None else (agent,)
    if not agents:
        raise click.UsageError("none of the agents publishes bars of windows: --agent says which")
    reason = why_not(chosen) if "bars" in agents else None
    if reason is not None:
        raise click.UsageError(f"{reason}; --agent quotes is possible")
    span = Span(NEVER if begin is None else begin, FOREVER if end is None else end)
    if span.begin >= span.end:
        raise click.UsageError("--from is not before --to")
    settings = reachable(chosen.model_copy(update={"agents": agents}))
    places = _Places(against, log, archive)
    found = run_async(lambda: _reconcile(settings, span, count, places))
    clear_progress()
    if as_json:
        print_json([drift.to_json() for drift in found])
    else:
        click.echo("\n\n".join("\n".join(drift_lines(drift)) for drift in found))
    for note in (note for drift in found for note in drift.notes):
        say(f"candlewick: {note}")
    for drift in found:
        if not drift.bars + drift.missing + drift.extra + drift.doubled:
            say(f"candlewick: {drift.agent}: there are no closed bars to compare")
    wrong = [
        f"{drift.agent} {one.name} {drift.share(one):.3%}"
        for drift in found
        for one in drift.above(threshold)
    ]
    if wrong:
        say(f"candlewick: drift above {threshold:.3%}: {', '.join(wrong)}")
        click.get_current_context().exit(exits.FAILURE)


async def _reconcile(settings: Settings, span: Span, count: int, places: _Places) -> list[Drift]:
    from agents.windowed import bars_configuration
    from app.reconcile.logs import make_log
    from app.reconcile.reading import reconcile as compared
    from app.reconcile.stores import make_store
    from app.run.outcomes import check_deployment

    # First: what is not set is said at once.
    stores = {
        agent: make_store(settings, agent, places.against, places.archive)
        for agent in settings.agents
    }
    await check_deployment(settings)
    configuration = bars_configuration(settings)
    return [
        await compared(
            settings,
            configuration,
            agent,
            span,
            count,
            lambda done, total, agent=agent: show_progress(agent, done, total),  # type: ignore[misc]
            store=stores[agent],
            log=make_log(settings, agent, places.log, places.archive),
        )
        for agent in settings.agents
    ]


def drift_lines(drift: Drift) -> list[str]:
    """Return an agent's drift as lines: the table of fields, whole bars, the worst differences."""
    left_out = [f"{count:,} {LEFT_OUT[why]}" for why, count in drift.left_out.items() if count] or [
        "none"
    ]
    rows = [["field", "compared", "unequal", "drift", "largest difference", "relative"]]
    rows += [
        [
            one.name,
            f"{drift.bars:,}",
            f"{one.unequal:,}",
            f"{drift.share(one):.3%}",
            f"{one.absolute:.6g}",
            f"{one.relative:.3g}",
        ]
        for one in drift.fields
    ]
    store = "" if drift.against is None else f" of {STORES[drift.against]}"
    doubled = "" if drift.against is None else f", {drift.doubled:,} doubled"
    lines = [
        f"{drift.agent}: {drift.bars:,} bars{store} compared with {drift.records:,} records of the "
        f"log, {drift.missing:,} missing, {drift.extra:,} extra{doubled}",
        f"windows left out: {', '.join(left_out)}",
        *table_lines(rows),
    ]
    return lines + (["", *_difference_lines(drift.worst)] if drift.worst else [])


def _difference_lines(differences: Sequence[Difference]) -> list[str]:
    rows = [["start (UTC)", "symbol", "size", "field", "published", "recomputed", "relative"]]
    for each in differences:
        values = ["-" if one is None else repr(one) for one in (each.published, each.recomputed)]
        if each.field == "bar":
            values = ["missing" if each.published is None else "extra", "-"]
        relative = "-" if each.relative is None else f"{each.relative:.3g}"
        rows.append(
            [_moment(each.start), each.symbol, each.interval, each.field, *values, relative]
        )
    return table_lines(rows)


def _moment(start: int) -> str:
    seconds, rest = divmod(start, NANOSECONDS["s"])
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"
