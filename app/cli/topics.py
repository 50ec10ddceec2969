"""`candlewick topics`: the topic table, what there is of it, schemas of its records, creation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from app.cli.common import (
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
from app.topics import TopicSpec, topic_table

if TYPE_CHECKING:
    from app.topic_state import TopicState

COLUMNS = ("TOPIC", "PARTITIONS", "COPIES", "CLEANUP", "RETENTION", "MAX BYTES", "CARRIES")
STATE_COLUMNS = ("TOPIC", "STATE", "PARTITIONS", "RECORDS", "BYTES", *COLUMNS[2:])
#: Seconds for a broker that is only asked for what it may add.
SECONDS = 2.0


@click.command()
@click.option("--schema", is_flag=True, help="Print the JSON Schemas of the records instead.")
@click.option("--create", is_flag=True, help="Create what is missing and check what is there.")
@deployment_options
@json_option
def topics(
    schema: bool, create: bool, deployment: str | None, topic_prefix: str | None, as_json: bool
) -> None:
    """Print the topics of the deployment: how they must be and, with a broker, how they are.

    STATE is ok, missing or differs, with the differences below the table. RECORDS are offsets from
    the first to the end, so markers of transactions count; BYTES are on the brokers' disks, all
    copies. Without a broker only the table is printed.

    \b
    --json prints an array of objects: name, carries, partitions, replication,
    cleanup, retention_ms, max_message_bytes, min_insync_replicas (as they must
    be) and, with a broker, state, differences, records, bytes. Example:
      candlewick topics --create
    """
    if schema:
        from app.contracts.schema import json_schemas

        print_json(json_schemas())
        return
    chosen = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    if create:
        from app.admin import ensure_topics

        with_address = reachable(chosen)
        run_async(lambda: ensure_topics(with_address))
        say("all topics are there, as the table says")
    states = _states(chosen)
    if states is None:
        table = topic_table(chosen)
        if as_json:
            print_json([asdict(spec) for spec in table])
        else:
            click.echo("\n".join(table_lines([COLUMNS, *map(_row, table)])))
    elif as_json:
        print_json([state.to_json() for state in states])
    else:
        click.echo("\n".join(state_lines(states)))


def _states(settings: Settings) -> list[TopicState] | None:
    """Return what there is; None, and a line that says why, where no broker tells."""
    from app.connection import BrokerUnreachableError
    from app.topic_state import topic_states

    try:
        with_address = reachable(settings)
    except BrokerUnreachableError:
        return None
    try:
        return run_async(lambda: topic_states(with_address, SECONDS))
    except BrokerUnreachableError as error:
        say(f"only the table: {error}")
        return None


def state_lines(states: list[TopicState]) -> list[str]:
    """Return the table of topics as they are, and each difference once, with its topics."""
    rows: list[tuple[str, ...]] = [STATE_COLUMNS]
    differences: dict[str, list[str]] = {}
    for state in states:
        name, must_have, *rest = _row(state.spec)
        figures = ["-" if each is None else f"{each:,}" for each in (state.records, state.bytes)]
        partitions = must_have if state.partitions is None else str(state.partitions)
        rows.append((name, state.state, partitions, *figures, *rest))
        for difference in state.differences:
            differences.setdefault(difference, []).append(name)
    lines = table_lines(rows)
    lines += [f"{', '.join(names)}: {text}" for text, names in differences.items()]
    missing = sum(not state.exists for state in states)
    if missing:
        lines.append(f"{missing} missing; `candlewick topics --create` creates them")
    return lines


def _row(spec: TopicSpec) -> tuple[str, ...]:
    retention = spec.retention_ms
    return (
        spec.name,
        str(spec.partitions),
        str(spec.replication),
        spec.cleanup,
        "-" if retention is None else format_duration(retention * NANOSECONDS["ms"]),
        str(spec.max_message_bytes),
        spec.carries,
    )
