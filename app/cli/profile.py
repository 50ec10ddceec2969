"""`candlewick profile`: what recorded data are like, as pages and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    clear_progress,
    json_option,
    print_json,
    read_settings,
    say,
    show_progress,
    table_lines,
)
from app.cli.feeds import NAMED_SKIPPED
from app.cli.mapping import mapping_options
from app.cli.markets import market_options

if TYPE_CHECKING:
    from app.feeds.mapping import ColumnMapping
    from tables.markets import Instruments


@click.command()
@click.option(
    "--ticks",
    "paths",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Recorded data, as `replay` reads them; several PATHs may follow it.",
)
@click.argument("more", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="For the report; files of the same names in it are replaced.",
)
@click.option(
    "--kind",
    type=click.Choice(["trades", "quotes"]),
    default="trades",
    show_default=True,
    help="Which records of the files.",
)
@market_options
@mapping_options
@json_option
def profile(
    paths: tuple[Path, ...],
    more: tuple[Path, ...],
    out: Path,
    kind: str,
    mapping: ColumnMapping | None,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Examine recorded trades or quotes, and write a report for each symbol and day.

    Gaps within the session, outliers, duplicates, crossed quotes, completeness, intervals, sources,
    by the same checks as the quality agent's, with the settings quality.*. No broker is needed. The
    folder gets index.html and index.json, and a page and a JSON for each symbol and day; pages need
    no network.

    \b
    Example:
      candlewick profile --ticks 20131008_trade.zip --calendar XNYS --out report
    """
    from agents.quality_settings import quality_configuration
    from app.feeds.source import open_source
    from app.profile.writing import write_report

    every_path = (*paths, *more)
    if not every_path:
        raise click.UsageError("--ticks PATH is missing")
    configuration = quality_configuration(read_settings())
    source = open_source(every_path, "quotes" if kind == "quotes" else "trades", mapping)
    index = write_report(
        source,
        out,
        instruments,
        configuration,
        lambda done, total: show_progress("read", done, total),
    )
    clear_progress()
    for skipped in source.skipped[:NAMED_SKIPPED]:
        say(f"skipped {skipped.path}: {skipped.reason}")
    if as_json:
        print_json(index)
        return
    rows = [["symbol", "day", "records", "flagged", "complete", "findings"]]
    for day in index["days"]:
        share = day["completeness"]
        findings = ", ".join(f"{count} {name}" for name, count in day["events"].items())
        rows.append(
            [
                day["symbol"],
                str(day["session"]),
                f"{day['records']:,}",
                f"{day['flagged']:,}",
                "-" if share is None else f"{int(share * 1e5) / 1e3:.3f}%",
                findings or "none",
            ]
        )
    click.echo("\n".join(table_lines(rows)))
    click.echo(f"report: {out / 'index.html'}")
