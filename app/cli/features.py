"""`candlewick features`: the feature store, rows of the past, and which features foretell."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli import features_moves, features_registry
from app.cli.common import (
    DURATION,
    INTERVAL,
    clear_progress,
    json_option,
    print_json,
    read_settings,
    safe_text,
    say,
    show_progress,
    table_lines,
)
from app.cli.features_store import feature_registry, store_option
from app.cli.markets import market_options
from app.durations import format_duration

if TYPE_CHECKING:
    from models.predicting.featuresets import FeatureSet
    from models.store.ranking import Ranking
    from models.store.registry import FeatureRegistry
    from tables.markets import Instruments

bars_option = click.option(
    "--bars",
    "paths",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bars as `candlewick run --export` writes them, .csv or .parquet; may come again.",
)
interval_option = click.option(
    "--interval", type=INTERVAL, default="1m", show_default=True, help="Which bars of the files."
)
_PLAIN = re.compile(r"(?P<name>[\w.-]+)(?:@(?P<version>\d+))?")


@click.group()
def features() -> None:
    """Feature sets: registered, looked up, ranked."""


for each in (*features_registry.COMMANDS, *features_moves.COMMANDS):
    features.add_command(each)


def _feature_set(registry: FeatureRegistry, written: str) -> type[FeatureSet]:
    """Return the class; of a registered version only if the code makes what is registered."""
    from models.predicting.features_registry import find_feature_set

    match = _PLAIN.fullmatch(written.strip())
    if match is not None and match["name"] in registry.names():
        name = match["name"]
        version = match["version"]
        if version is not None and int(version) in registry.versions(name):
            return registry.kind(name, int(version))
        if version is None and "active" in registry.aliases(name):
            return registry.kind(name)
    kind = find_feature_set(written)
    if kind.VERSION in (registry.versions(kind.NAME) if kind.NAME in registry.names() else ()):
        return registry.kind(kind.NAME, kind.VERSION, [kind.__module__])
    say(f"{kind.plan().label}: not registered")
    return kind


@features.command()
@click.argument("entities", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@bars_option
@click.option(
    "--features",
    "written",
    default="returns",
    show_default=True,
    metavar="[MODULE:]NAME[@VERSION]",
    help="Feature set; without a version the active one, else the code's highest.",
)
@interval_option
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, .csv or .parquet.",
)
@click.option("--max-age", type=DURATION, metavar="5m", help="Older features are left empty.")
@click.option(
    "--delay",
    type=DURATION,
    default=0,
    metavar="200ms",
    help="After a bar's end until its features are served; 0 unless told.",
)
@click.option("--caller", metavar="NAME", help="Count this look-up in the store, as of NAME.")
@store_option
@market_options
@json_option
def historical(
    entities: Path,
    paths: tuple[Path, ...],
    written: str,
    interval: int,
    target: Path,
    max_age: int | None,
    delay: int,
    caller: str | None,
    location: str | None,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Add to the rows of ENTITIES the features as they were known at their times.

    \b
    ENTITIES is a .csv or .parquet with symbol, and time_ns or time (ISO 8601 with
    its offset); other columns, labels among them, stay. Of each row the newest bar
    that had ended at that time counts. A column known_ns of the bars tells when
    each revision was known; without it a bar's highest revision is known at its
    end. Added are feature_time_ns (the bar's end), age_ns, exact, and a column a
    feature, empty where there was nothing yet or it is older than --max-age.
    Example:
      candlewick features historical trades.csv --bars bars.parquet --max-age 5m --out rows.parquet

    \b
    --json prints an object: rows, there, known, features, feature_set, out.
    """
    from app.run.export import check_target
    from app.run.featuring import write_historical

    try:
        check_target(target)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--out") from error
    with feature_registry(location) as registry:
        kind = _feature_set(registry, written)
        try:
            found = write_historical(
                entities,
                paths,
                kind,
                format_duration(interval),
                target,
                instruments,
                max_age=max_age,
                delay=delay,
                fill_forward=read_settings().bars.fill_forward,
                progress=show_progress,
            )
        finally:
            clear_progress()
        if caller is not None:
            _count(registry, caller, found.feature_set, found.rows, found.there)
    if as_json:
        print_json(
            {
                "rows": found.rows,
                "there": found.there,
                "known": found.known,
                "features": found.features,
                "feature_set": found.feature_set,
                "out": str(target),
            }
        )
        return
    say(f"{target}: {found.there:,} of {found.rows:,} rows have features of {found.feature_set}")


def _count(registry: FeatureRegistry, caller: str, label: str, rows: int, served: int) -> None:
    from models.store.usage import Usage

    counted, now = Usage(), time.time_ns()
    counted.count(label, "historical", caller, rows=rows, served=served, time=now)
    counted.flush(registry.store, now)


@features.command()
@bars_option
@click.option(
    "--features",
    "written",
    default="returns",
    show_default=True,
    metavar="[MODULE:]NAME[@VERSION]",
    help="Feature set; without a version the active one, else the code's highest.",
)
@click.option(
    "--horizon", type=click.IntRange(1, 10_000), default=1, show_default=True, help="In bars."
)
@interval_option
@click.option("--best", type=click.IntRange(1), default=30, show_default=True, help="To choose.")
@click.option("--folds", type=click.IntRange(2, 100), default=5, show_default=True)
@click.option(
    "--redundant",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Rank correlation above which one of two features is left out.",
)
@click.option(
    "--across-sessions", is_flag=True, help="Also targets that lie across the end of a session."
)
@store_option
@market_options
@json_option
def rank(
    paths: tuple[Path, ...],
    written: str,
    horizon: int,
    interval: int,
    best: int,
    folds: int,
    redundant: float,
    across_sessions: bool,
    location: str | None,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Rank the features of a set by what they foretold of the return, and choose the best.

    \b
    The score is a walk-forward mean rank correlation with the target: in each
    block of time a feature counts with the sign it had before. Beside it: the share
    of blocks where that sign held, and whether the score is above what chance gives
    the best of all features in 5 % of cases (targets shifted in time). Features
    that say the same as a better one are left out. If nothing is there, it says so.
    Single features only: what works together alone is not found. Example:
      candlewick features rank --bars bars.parquet --features returns@1 --horizon 5 --best 30

    \b
    --json prints an object: feature_set, rows, blocks, horizon, interval, threshold,
    chosen, proven, features.
    """
    from app.feeds.errors import FeedError
    from app.training.sources import Files
    from models.predicting.building import build
    from models.store.ranking import rank as rank_rows

    with feature_registry(location) as registry:
        kind = _feature_set(registry, written)
    bars = Files(paths).read(format_duration(interval)).bars
    try:
        rows = build(
            bars,
            kind,
            horizon,
            market_of=instruments.market,
            across_sessions=across_sessions,
            fill_forward=read_settings().bars.fill_forward,
            progress=show_progress,
        )
        found = rank_rows(rows, best, folds=folds, redundant=redundant, progress=show_progress)
    except ValueError as error:
        raise FeedError(paths[0], None, str(error)) from error
    finally:
        clear_progress()
    if as_json:
        print_json(rank_json(found))
        return
    for line in rank_lines(found):
        click.echo(safe_text(line))


def rank_lines(found: Ranking) -> list[str]:
    """Return a ranking, for people."""
    listed: list[tuple[str, ...]] = [
        ("", "FEATURE", "SCORE", "STABILITY", "BEYOND CHANCE", "MISSING", "REDUNDANT WITH")
    ]
    for place, one in enumerate(found.features, 1):
        listed.append(
            (
                f"{place}{'' if one.chosen else ' -'}",
                one.name,
                f"{one.score:+.4f}",
                f"{one.stability:.0%}",
                "yes" if one.proven else "no",
                f"{one.missing:.1%}",
                one.redundant_with or "",
            )
        )
    count = len(found.features)
    chance = (
        f"the best of {count} useless features has {found.threshold:.4f} or more in 5 % of cases"
    )
    if found.proven:
        verdict = f"beyond chance: {', '.join(found.proven)}; {chance}"
    else:
        top = found.features[0]
        verdict = f"nothing here: the best, {top.name}, has {top.score:.4f}; {chance}"
    return [
        f"{found.feature_set}: return over {found.horizon} bars of {found.interval}, "
        f"{found.rows:,} rows in {found.blocks} blocks",
        *table_lines(listed),
        f"{len(found.chosen)} chosen of {count}; - is not",
        verdict,
    ]


def rank_json(found: Ranking) -> dict[str, Any]:
    """Return a ranking, for programs."""
    import msgspec

    rest: dict[str, Any] = msgspec.to_builtins(found)
    rest["chosen"], rest["proven"] = list(found.chosen), list(found.proven)
    return rest
