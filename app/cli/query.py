"""`candlewick query`: SQL over the archive."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    deployment_options,
    json_option,
    print_json,
    read_settings,
    safe_text,
    say,
    table_lines,
)

if TYPE_CHECKING:
    import pyarrow as pa


@click.command()
@click.argument("sql", metavar="SQL")
@click.option(
    "--archive",
    metavar="LOCATION",
    help="A folder or an address such as s3://bucket/archive; else the deployment's.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead.")
@deployment_options
@json_option
def query(
    sql: str,
    archive: str | None,
    as_csv: bool,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Run one SQL query over the archive, with DuckDB.

    Workers write it where no InfluxDB is configured; docs/archive.md tells of it.

    Topics are views: ticks, quotes, bars, quotes_bars, indicators, predictions ...; `SHOW TABLES`
    lists them and `DESCRIBE bars` their columns. Of what is revised a view has the highest
    revision, and bars_versions all. A condition on year, month and day reads the files of that day
    alone. Times are nanoseconds: make_timestamp_ns(start) shows one. Nothing is written.

    \b
    --json prints an array of objects, one a row. Example:
      candlewick query "SELECT symbol, sum(volume) FROM bars
        WHERE year = 2026 AND month = 11 AND day = 20 AND interval = '1m' GROUP BY symbol"
    """
    from app.archive.layout import archive_location
    from app.archive.manifest import ArchiveError
    from app.archive.querying import QueryError
    from app.archive.querying import query as run
    from app.run.errors import RunError

    if as_csv and as_json:
        raise click.UsageError("--csv and --json: expected one of them")
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    try:
        found = run(archive or archive_location(settings), sql)
    except (QueryError, ArchiveError, ValueError, ImportError) as error:
        raise RunError(str(error)) from error
    if as_json:
        print_json(found.to_pylist())
    elif as_csv:
        _print_csv(found)
    else:
        click.echo("\n".join(_lines(found)))
        say(f"{found.num_rows:,} {'row' if found.num_rows == 1 else 'rows'}")


def _print_csv(found: pa.Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(found.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in found.columns), strict=True))


def _lines(found: pa.Table) -> list[str]:
    """Return the rows as lines with columns below each other; DuckDB's plans as they are."""
    if found.column_names == ["explain_key", "explain_value"]:
        return [str(plan) for plan in found.column("explain_value").to_pylist()]
    cells = [[_cell(value) for value in column.to_pylist()] for column in found.columns]
    return table_lines([found.column_names, *zip(*cells, strict=True)])


def _cell(value: object) -> str:
    return "" if value is None else safe_text(value if isinstance(value, bytes) else str(value))
