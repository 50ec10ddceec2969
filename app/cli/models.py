"""`candlewick models`: what predicts, and what it predicts from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app import exits
from app.cli.common import (
    clear_progress,
    json_option,
    print_json,
    say,
    show_progress,
    table_lines,
)
from app.cli.markets import market_options
from app.cli.models_mirror import mirror
from app.cli.models_monitor import monitor
from app.cli.models_online import online
from app.cli.models_registry import COMMANDS

if TYPE_CHECKING:
    from app.contracts.wire import BarRecord
    from models.predicting.lookahead import Difference, Lookahead
    from tables.markets import Instruments

#: Made-up bars, where no file is given.
MADE_UP = 600


@click.group()
def models() -> None:
    """Versions of models, and what predictions are made of."""


for each in (*COMMANDS, monitor, online, mirror):
    models.add_command(each)


@models.command("check-lookahead")
@click.option(
    "--features",
    "written",
    required=True,
    metavar="[MODULE:]NAME[@VERSION]",
    help="The feature set: returns@1, or my_features:calm@1 of a module of your own.",
)
@click.option(
    "--bars",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bars as `candlewick run --export` writes them, .csv or .parquet; made up without.",
)
@click.option("--interval", metavar="1m", help="Which bars of the file, if it has several sizes.")
@click.option(
    "--points",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="At how many points in time the future is cut off.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the points.")
@market_options
@json_option
def lookahead_command(
    written: str,
    source: Path | None,
    interval: str | None,
    points: int,
    seed: int,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Check that no feature knows what comes later.

    \b
    The rows of the bars are computed as they are live, and again
      batch    as a training set is built: `prepare` is told of all bars
      cut      without the bars after some point, at --points random points
      other    with other bars after the point
      state    through the stored state, as after a restart
      revised  with bars that are revised
    Rows up to the point must be equal, bit for bit. What differs is listed with
    the first row where it does, and the exit code is 1. Modules are found as
    Python finds them (PYTHONPATH). Example:
      candlewick models check-lookahead --features my_features:calm --bars bars.csv

    \b
    --json prints an object: feature_set, clean, features, bars, points, rows, differences.
    """
    from app.feeds.errors import FeedError
    from models.predicting.features_plan import FeatureSetError
    from models.predicting.features_registry import find_feature_set
    from models.predicting.lookahead import check_lookahead

    try:
        kind = find_feature_set(written)
        warm_up = kind.plan().warm_up
    except FeatureSetError as error:
        raise click.UsageError(str(error)) from error
    bars = _bars(source, interval, warm_up, seed)
    try:
        found = check_lookahead(
            bars,
            kind,
            points=points,
            seed=seed,
            market_of=instruments.market,
            progress=show_progress,
        )
    except ValueError as error:
        if source is None:
            raise
        raise FeedError(source, None, str(error)) from error
    finally:
        clear_progress()
    if as_json:
        print_json(lookahead_json(found))
    else:
        for line in lookahead_lines(found):
            click.echo(line)
    if not found.clean:
        click.get_current_context().exit(exits.FAILURE)


def _bars(source: Path | None, interval: str | None, warm_up: int, seed: int) -> list[BarRecord]:
    if source is None:
        from models.predicting.lookahead import made_up_bars

        say("no --bars: checked with made-up bars of two symbols")
        return made_up_bars(seed, MADE_UP + 2 * warm_up)
    from app.run.indicating import bars_of, read_bar_table

    bars = bars_of(source, read_bar_table(source))
    return [bar for bar in bars if interval is None or bar.interval == interval]


def lookahead_lines(found: Lookahead) -> list[str]:
    """Return what a check found, for people."""
    rows = [("check", "rows compared", "features that differ")]
    for check, count in found.rows.items():
        differing = sum(each.check == check for each in found.differences)
        rows.append((check, f"{count:,}", f"{differing} of {found.features}"))
    lines = [
        f"{found.feature_set}: {found.features} features, {found.bars:,} bars, the future cut off "
        f"at {len(found.points)} points",
        *table_lines(rows),
    ]
    if found.clean:
        return [*lines, "clean: every row is the same whatever comes later"]
    listed: list[tuple[str, ...]] = [
        ("check", "feature", "rows", "first at start_ns", "live", "here")
    ]
    listed += [_cells(each) for each in found.differences]
    return [*lines, "", *table_lines(listed), "", f"not clean: {_verdict(found)}"]


def _verdict(found: Lookahead) -> str:
    ahead = {each.feature for each in found.differences if each.check in ("cut", "other")}
    if ahead:
        return f"{', '.join(sorted(ahead)) or 'the set'} change with what comes later"
    return "live, other values are computed than in training"


def _cells(each: Difference) -> tuple[str, ...]:
    values = ["nothing" if value is None else repr(value) for value in (each.live, each.found)]
    if each.error:
        return each.check, "", f"{each.rows:,}", each.error, "", ""
    return each.check, each.feature, f"{each.rows:,}", f"{each.symbol} {each.start}", *values


def lookahead_json(found: Lookahead) -> dict[str, Any]:
    """Return what a check found, for programs."""
    return {
        "feature_set": found.feature_set,
        "clean": found.clean,
        "features": found.features,
        "bars": found.bars,
        "points": list(found.points),
        "rows": dict(found.rows),
        "differences": [
            {
                "check": each.check,
                "feature": each.feature or None,
                "rows": each.rows,
                "symbol": each.symbol or None,
                "start_ns": each.start if each.symbol else None,
                "live": each.live,
                "found": each.found,
                "error": each.error or None,
            }
            for each in found.differences
        ],
    }
