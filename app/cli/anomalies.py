"""`candlewick anomalies`: the anomaly scores of a series, to compare with one's own."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from app.cli.common import DURATION, clear_progress, say, show_progress
from app.durations import format_duration
from app.feeds.errors import FeedError

if TYPE_CHECKING:
    from models.anomalies.series import SeriesScorer

COLUMNS = ("timestamp", "value")
ADDED = ("score", "is_anomaly", "ready")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: (time in ns, value, the two texts as they were).
Row = tuple[int, float, str, str]


def time_of(text: str) -> int:
    """Return ns since the epoch of digits (ns) or of ISO 8601; without an offset it is UTC.

    Raises:
        ValueError: neither.
    """
    if text.isdecimal():
        return int(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def read_series(path: Path) -> list[Row]:
    """Read a CSV with the columns `timestamp` and `value`; others are left out.

    Raises:
        FeedError: a column lacks, or a row is broken.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            return list(_rows(path, file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise FeedError(path, None, f"not a CSV: {error}") from error


def _rows(path: Path, file: TextIO) -> Iterator[Row]:
    reader = csv.reader(file)
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise FeedError(
            path, 1, f"no column {missing[0]!r}: expected {','.join(COLUMNS)}, got {header}"
        )
    places = [header.index(name) for name in COLUMNS]
    for cells in reader:
        if not cells:
            continue
        try:
            moment, number = (cells[place] for place in places)
            value = float(number)
            if not math.isfinite(value):
                raise ValueError(f"value is {number}: expected a finite number")
            yield time_of(moment.strip()), value, moment, number
        except (IndexError, ValueError) as error:
            text = "a cell lacks" if isinstance(error, IndexError) else str(error)
            raise FeedError(path, reader.line_num, text) from error


def write_scores(path: Path, rows: list[Row], scorer: SeriesScorer) -> int:
    """Write the rows with their scores, whole or not at all; return how many are anomalies.

    `score` is empty and `ready` false in the warm-up.
    """
    found = 0
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow((*COLUMNS, *ADDED))
            for number, (time, value, moment, text) in enumerate(rows, 1):
                scorer.update((time, value))
                score = scorer.value
                anomaly = score is not None and score.is_anomaly
                found += anomaly
                writer.writerow(
                    (
                        moment,
                        text,
                        "" if score is None else repr(score.score),
                        str(anomaly).lower(),
                        str(scorer.ready).lower(),
                    )
                )
                if number % 1_000 == 0:
                    show_progress("scored", number, len(rows))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
        clear_progress()
    return found


@click.command()
@click.option(
    "--series",
    "source",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns timestamp and value, in order of time.",
)
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV to write; one that is there is replaced.",
)
@click.option(
    "--false-alarms-per-day",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=1 / 30,
    show_default="one in 30 days",
    help="How many are acceptable in the long run.",
)
@click.option(
    "--interval",
    type=DURATION,
    help="Between two values; else the median of the first hundred steps.",
)
def anomalies(
    source: Path, target: Path, false_alarms_per_day: float, interval: int | None
) -> None:
    """Score each value of a series by the values before it, as the agent scores bars.

    \b
    A timestamp is ISO 8601, UTC if it has no offset, or ns since the epoch.
    Out come timestamp and value as they were, and
      score       0 to 1: a tenth of -log10 of how likely one as odd is;
                  empty in the warm-up of 200 values
      is_anomaly  true where the score is above a threshold that follows
                  from --false-alarms-per-day; what lasts is told once
      ready       false in the warm-up
    Example:
      candlewick anomalies --series latency.csv --out scores.csv
    """
    from models.anomalies.series import SeriesScorer, interval_of

    rows = read_series(source)
    if interval is None:
        try:
            interval = interval_of([row[0] for row in rows[:101]])
        except ValueError as error:
            raise FeedError(source, None, str(error)) from error
    if interval < 1:
        raise click.BadParameter("expected more than 0", param_hint="--interval")
    found = write_scores(target, rows, SeriesScorer(interval, false_alarms_per_day))
    say(f"{len(rows)} values every {format_duration(interval)}, {found} anomalies: {target}")
