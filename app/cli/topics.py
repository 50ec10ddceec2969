"""`candlewick topics`: the topic table, the schemas of its records, creation and check."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from app.cli.common import reachable, read_settings, run_async, say
from app.durations import NANOSECONDS, format_duration
from app.topics import TopicSpec, topic_table

COLUMNS = ("TOPIC", "PARTITIONS", "COPIES", "CLEANUP", "RETENTION", "MAX BYTES", "CARRIES")


@click.command()
@click.option("--schema", is_flag=True, help="Print the JSON Schemas of the records instead.")
@click.option("--create", is_flag=True, help="Create what is missing and check what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def topics(schema: bool, create: bool, as_json: bool) -> None:
    """Print the topics of the deployment: names and how they are made."""
    if schema:
        from app.contracts.schema import json_schemas

        click.echo(json.dumps(json_schemas(), indent=2))
        return
    chosen = read_settings()
    if create:
        from app.admin import ensure_topics

        with_address = reachable(chosen)
        run_async(lambda: ensure_topics(with_address))
        say("all topics are there, as the table says")
    table = topic_table(chosen)
    if as_json:
        click.echo(json.dumps([asdict(spec) for spec in table], indent=2))
        return
    rows = [COLUMNS, *(_row(spec) for spec in table)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


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
