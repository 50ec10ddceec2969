"""`candlewick plot`: a symbol's candles, and what was found in them, as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.common import INTERVAL, deployment_options, event_time, read_settings, say
from app.durations import format_duration


@click.command()
@click.argument("symbol")
@click.option("--interval", type=INTERVAL, default="1m", show_default=True, help="Of the bars.")
@click.option(
    "--from", "begin", callback=event_time, metavar="TIME", help="First start: ISO or ns."
)
@click.option("--to", "end", callback=event_time, metavar="TIME", help="Starts before it.")
@click.option(
    "--last",
    type=click.IntRange(1, 3_000),
    default=200,
    show_default=True,
    help="Bars at most, unless --from and --to are given.",
)
@click.option(
    "--out",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.{png,svg}",
    help="FILE is replaced whole.",
)
@click.option(
    "--archive",
    metavar="LOCATION",
    help="A folder or an address such as s3://bucket/archive; else the deployment's.",
)
@click.option(
    "--bars",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bars as `candlewick run --export` writes them, instead of an archive.",
)
@click.option(
    "--predictions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --bars: what `candlewick predict` has written.",
)
@click.option("--model", metavar="NAME", help="Whose predictions, where there are several.")
@deployment_options
def plot(
    symbol: str,
    interval: int,
    begin: int | None,
    end: int | None,
    last: int,
    target: Path,
    archive: str | None,
    bars: Path | None,
    predictions: Path | None,
    model: str | None,
    deployment: str | None,
    topic_prefix: str | None,
) -> None:
    """Draw the bars of SYMBOL with VWAP, volume, RSI, anomalies and predictions.

    Of an archive it is what was published. Of a file of bars, RSI and anomalies are computed by the
    agents' code. The dashed line is the close that was predicted for each bar, some bars before,
    within its interval. Times are UTC.

    \b
    Needs matplotlib: pip install 'candlewick[charts]'. Examples:
      candlewick plot SPY --interval 1m --from 2026-11-20T14:30:00Z --out spy.png
      candlewick plot SPY --bars bars.parquet --predictions predictions.parquet --out spy.svg
    """
    from app.archive.layout import archive_location
    from app.archive.manifest import ArchiveError
    from app.archive.querying import QueryError
    from app.feeds.rows import known_symbol
    from app.plot.archived import archived_chart
    from app.plot.chart import PlotError, Selection
    from app.plot.drawing import SUFFIXES, draw
    from app.plot.recorded import recorded_chart
    from app.run.errors import RunError

    if target.suffix not in SUFFIXES:
        raise click.BadParameter(
            f"{target}: expected a name that ends with {' or '.join(SUFFIXES)}", param_hint="--out"
        )
    if not known_symbol(symbol):
        raise click.BadParameter(f"{symbol!r} is no symbol", param_hint="SYMBOL")
    if archive is not None and bars is not None:
        raise click.UsageError("--archive and --bars: expected one of them")
    if predictions is not None and bars is None:
        raise click.UsageError("--predictions needs --bars: an archive has its own")
    if begin is not None and end is not None and begin >= end:
        raise click.UsageError("--to is not after --from")
    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    chosen = Selection(symbol, format_duration(interval), begin, end, last, model)
    try:
        if bars is not None:
            chart = recorded_chart(bars, predictions, chosen, settings.anomalies)
        else:
            chart = archived_chart(archive or archive_location(settings), chosen)
        draw(chart, target)
    except (PlotError, ArchiveError, QueryError, ValueError, ImportError) as error:
        raise RunError(str(error)) from error
    say(
        f"{target}: bars {len(chart.start):,}, anomalies {len(chart.anomalies):,}, "
        f"predictions {len(chart.predictions.start):,}"
    )
