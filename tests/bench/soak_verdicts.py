"""Is it flat? Samples of a long run to verdicts; pure, so that its thresholds can be tested.

The warm-up is left out: `warm_up_seconds` says how long what fills by design takes to be full. What
follows is cut into `WINDOWS` of equal length, and the last one is compared with the first: a leak
grows on, a cache that fills has filled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from app.setting_groups import BarSettings
from tables.identifiers import MINUTE

NANOSECONDS = 1_000_000_000
#: Beyond what is remembered by the clock of the data.
SPARE_SECONDS = 300.0
#: Of memory: the last window's median may be this much above the first one's.
TOLERANCE = 0.05
#: Handles and threads may be so many more, or `TOLERANCE`, whichever is more.
HANDLES = 3
#: A warning that comes more often after the warm-up repeats.
REPEATS = 3
WINDOWS = 3
#: Name and value; of several workers the sum.
Sample = Mapping[str, float]

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"\[(warning|error|critical)\s*\]")
_PYTHON = re.compile(r"\b(\w*Warning|Traceback)\b")
_TIME = re.compile(r"^\S*\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\s*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Verdict:
    """One line of the summary; `flat` is None for what is told and not judged."""

    name: str
    flat: bool | None
    text: str


def warm_up_seconds(bars: BarSettings) -> float:
    """Return how long a worker's memory grows by design, in seconds.

    Trade ids are remembered for the correction horizon, the grace and up to a minute
    (`tables/identifiers.py`). `SPARE_SECONDS` are for write buffers, caches and the allocator.
    """
    remembered = bars.correction_horizon + bars.grace + MINUTE
    return remembered / NANOSECONDS + SPARE_SECONDS


def after(samples: Sequence[Sample], seconds: float) -> list[Sample]:
    """Return the samples taken so long after the first one, or later."""
    return [each for each in samples if each["seconds"] - samples[0]["seconds"] >= seconds]


def window(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Return the samples of a window, 1 to `WINDOWS`, by the time they were taken (`seconds`)."""
    if not samples:
        return []
    first, last = samples[0]["seconds"], samples[-1]["seconds"]
    length = (last - first) / WINDOWS or 1.0
    return [
        each
        for each in samples
        if min(int((each["seconds"] - first) / length), WINDOWS - 1) == number - 1
    ]


def medians(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """Return a value's median in the first window, and in the last one."""
    before, now = (
        [each[name] for each in window(samples, number) if name in each] for number in (1, WINDOWS)
    )
    return (median(before) if before else 0.0, median(now) if now else 0.0)


def slope(samples: Sequence[Sample], name: str) -> float:
    """Return the least squares slope of a value, an hour."""
    rest = [each for each in samples if name in each]
    if len({each["seconds"] for each in rest}) < 2:
        return 0.0
    hours = np.array([each["seconds"] for each in rest]) / 3600
    values = np.array([each[name] for each in rest])
    return float(np.polyfit(hours - hours[0], values, 1)[0])


def memory_verdict(samples: Sequence[Sample], name: str, *, judged: bool = True) -> Verdict:
    """Judge a value in bytes: above `TOLERANCE` it grows."""
    before, after = medians(samples, name)
    change = after / before - 1 if before else 0.0
    text = (
        f"{before / 1e6:,.1f} MB -> {after / 1e6:,.1f} MB ({change:+.1%}), "
        f"{slope(samples, name) / 1e6:+,.1f} MB/h, in the last third "
        f"{slope(window(samples, WINDOWS), name) / 1e6:+,.1f} MB/h"
    )
    return Verdict(name, after <= before * (1 + TOLERANCE) if judged else None, text)


def handles_verdict(samples: Sequence[Sample], name: str) -> Verdict:
    """Judge a number of handles or threads."""
    before, after = medians(samples, name)
    allowed = max(HANDLES, before * TOLERANCE)
    text = f"{before:,.0f} -> {after:,.0f}, {slope(samples, name):+,.1f}/h"
    return Verdict(name, after - before <= allowed, text)


def told(samples: Sequence[Sample], name: str, unit: str = "", scale: float = 1.0) -> Verdict:
    """Tell a value without judging it."""
    before, after = medians(samples, name)
    highest = max((each[name] for each in samples if name in each), default=0.0)
    text = (
        f"{before / scale:,.1f}{unit} -> {after / scale:,.1f}{unit}, "
        f"at most {highest / scale:,.1f}{unit}"
    )
    return Verdict(name, None, text)


def count_verdict(name: str, count: int) -> Verdict:
    """Judge what must not happen at all."""
    return Verdict(name, count == 0, str(count))


def complaint(line: str) -> str | None:
    """Return what a line of a log complains of, without times and numbers; None: of nothing."""
    line = _COLOURS.sub("", line)
    if not (_LEVEL.search(line) or _PYTHON.search(line)):
        return None
    return _NUMBER.sub("N", _TIME.sub("", line)).strip()


def complaints_verdicts(
    complaints: Mapping[str, int], warm_up: Mapping[str, int], repeats: int = REPEATS
) -> Iterable[Verdict]:
    """Judge warnings by how often each came after the warm-up; none at all is one verdict.

    Args:
        complaints: how often each came, all in all.
        warm_up: how often of that in the warm-up.
    """
    if not complaints:
        yield Verdict("warnings", True, "none")
    for text, count in Counter(complaints).most_common():
        early = warm_up.get(text, 0)
        yield Verdict(
            "warning", count - early <= repeats, f"{early} + {count - early} times: {text[:300]}"
        )


def percentile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """Return the upper end of the bucket in which a share of new observations is reached.

    Args:
        before, after: a histogram's cumulated counts by upper end, then and now.

    Returns:
        0.0 where nothing was observed; infinity beyond the last bucket.
    """
    new = {end: count - before.get(end, 0.0) for end, count in sorted(after.items())}
    total = max(new.values(), default=0.0)
    if total <= 0:
        return 0.0
    return next(end for end, count in new.items() if count >= share * total)
