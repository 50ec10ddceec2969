"""`candlewick indicators`: indicators of recorded bars, to compare with one's own."""

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
)
from app.cli.markets import market_options
from tables.indicators.registry import DEFAULT_INDICATORS

if TYPE_CHECKING:
    from tables.markets import Instruments


@click.command()
@click.option(
    "--bars",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Bars as `candlewick run --export` writes them, .csv or .parquet.",
)
@click.option(
    "--indicators",
    "text",
    default=DEFAULT_INDICATORS,
    help="EMA(12),RSI(14),...; unless told the default set of 12.",
)
@click.option(
    "--out",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write, .csv or .parquet.",
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="PATH",
    help="Import path of a module with indicators of your own.",
)
@market_options
@json_option
def indicators(
    source: Path,
    text: str,
    target: Path,
    modules: tuple[str, ...],
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Compute indicators of recorded bars, as the agent computes them.

    \b
    Columns of the bars: symbol, interval, start_ns, open, high, low, close,
    volume; vwap, trades, revision where they are there. Out come the same rows
    in the same order, with a column an output, named as asked and empty in the
    warm-up: RSI(14), MACD(12,26,9), MACD(12,26,9).signal. Each symbol and
    interval is taken by its starts, each start by its highest revision; the rows
    of others stay empty. Sessions of SESSION_VWAP are those of the calendar (24/7:
    UTC dates). All indicators with parameters and seeds: docs/indicators.md. Example:
      candlewick indicators --bars bars.csv --indicators 'EMA(12),RSI(14)' --out out.csv

    \b
    --json prints an object: rows, series, columns, out.
    """
    from app.run.export import check_target
    from app.run.indicating import write_indicators
    from tables.indicating import contexts_of
    from tables.indicators.base import ParameterError
    from tables.indicators.registry import parse_indicators

    try:
        requests = parse_indicators(text, modules)
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
    try:
        check_target(target)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--out") from error
    try:
        contexts = contexts_of(instruments)
        fill_forward = read_settings().bars.fill_forward
        written = write_indicators(
            source, requests, target, contexts, show_progress, fill_forward=fill_forward
        )
    finally:
        clear_progress()
    if as_json:
        print_json(
            {
                "rows": written.rows,
                "series": written.series,
                "columns": written.columns,
                "out": str(target),
            }
        )
        return
    say(
        f"{target}: {written.rows:,} bars of {written.series:,} symbols and intervals, "
        f"{len(written.columns)} columns added"
    )
