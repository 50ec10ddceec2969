"""`candlewick predict`: predictions of recorded bars, to compare with those of the agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    bar_files,
    clear_progress,
    json_option,
    print_json,
    say,
    show_progress,
)
from app.cli.markets import market_options
from app.cli.models_registry import open_registry, registry_option

if TYPE_CHECKING:
    from tables.markets import Instruments


@click.command()
@bar_files
@click.option(
    "--archive",
    metavar="LOCATION",
    help="Bars of an archive instead: a folder or an address such as s3://bucket/archive.",
)
@click.option("--model", required=True, metavar="NAME", help="Of the registry.")
@click.option(
    "--version", default="champion", show_default=True, help="A number, or an alias of the model."
)
@click.option(
    "--features",
    metavar="NAME",
    help="Feature set, where it is one of your own: MODULE:NAME@VERSION.",
)
@click.option(
    "--out",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write, .csv or .parquet.",
)
@registry_option
@market_options
@json_option
def predict(
    files: tuple[Path, ...],
    archive: str | None,
    model: str,
    version: str,
    features: str | None,
    target: Path,
    location: str | None,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Predict from recorded bars, by the code of the agent.

    \b
    Out come a row a bar past the warm-up, as the predictions topic has them:
    symbol, interval, start_ns, model, version, horizon, prediction, low, high.
    Intervals learn from each return that becomes known, as they do live; their
    settings are predictions.alpha and predictions.rate. Bars without trades are
    input where bars.fill_forward is on, as they are for the agents.

    Files have each bar once, as it is in the end. An archive has all revisions in the
    order of the log, so what was revised after the next bar is met as late as it was
    live: its rows are those of the topic. Without either it is the deployment's archive.

    \b
    Examples:
      candlewick predict --bars bars.parquet --model returns --out predictions.parquet
      candlewick predict --model returns --out predictions.parquet

    \b
    --json prints an object: rows, bars, version, without (bars without a
    prediction, by reason), out.
    """
    from app.archive.layout import archive_location
    from app.archive.manifest import ArchiveError
    from app.cli.common import read_settings
    from app.run.errors import RunError
    from app.run.export import check_target
    from app.run.predicting import ServedVersion, write_predictions
    from models.predicting.features_plan import FeatureSetError
    from models.predicting.features_registry import find_feature_set

    if archive is not None and files:
        raise click.UsageError("--bars and --archive: expected one of them")
    try:
        check_target(target)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--out") from error
    settings = read_settings()
    try:
        with open_registry(location) as registry:
            number = int(version) if version.isdecimal() else registry.resolve(model, version)
            label = registry.manifest(model, number).feature_set.rpartition(":")[0]
            try:
                kind = find_feature_set(features or label)
            except FeatureSetError as error:
                raise click.BadParameter(str(error), param_hint="--features") from error
            served = ServedVersion(
                *(registry, model, number, kind, instruments),
                alpha=settings.predictions.alpha,
                rate=settings.predictions.rate,
                partitions=settings.topics.partitions,
            )
            written = write_predictions(
                files or archive or archive_location(settings),
                target,
                served,
                fill_forward=settings.bars.fill_forward,
                progress=show_progress,
            )
    except ArchiveError as error:
        raise RunError(str(error)) from error
    finally:
        clear_progress()
    if as_json:
        print_json(
            {
                "rows": written.rows,
                "bars": written.bars,
                "version": written.version,
                "without": written.without,
                "out": str(target),
            }
        )
        return
    say(
        f"{target}: {written.rows:,} predictions of {written.bars:,} bars by {model} "
        f"{written.version}"
    )
