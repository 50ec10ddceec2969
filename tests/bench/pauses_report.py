"""The table of `rebalances.py`: pauses first, then the steps that they consist of."""

from __future__ import annotations

import shlex
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.settings import Settings
from tests.bench.pauses import Happening, Pause, Step, describe
from tests.bench.report import surroundings

#: What issue #5 asks for, in seconds.
GOALS = {"kept": 2.0, "moved": 5.0}
_SECOND = 1_000_000_000


def as_json(
    happenings: Sequence[Happening],
    found: Sequence[Sequence[Pause]],
    quiet: Sequence[Pause],
    steps: Sequence[Step],
    load_pause: float,
    load: str,
    settings: Settings,
) -> dict[str, Any]:
    """All figures, in seconds, and what they were measured on.

    Args:
        found: of each happening, the longest pause of each partition.
        quiet: the same of the undisturbed time.
    """
    spans = [*(each.began for each in happenings), float("inf")]
    changes = []
    for each, longest, end in zip(happenings, found, spans[1:], strict=True):
        seconds = {pause.partition: round(pause.seconds, 3) for pause in longest}
        between = [step for step in steps if each.began <= step.began < end]
        changes.append(
            {
                "kind": each.kind,
                "worker": each.worker,
                "settled": round(each.settled - each.began, 3),
                "moved": {name: value for name, value in seconds.items() if name in each.moved},
                "kept": {name: value for name, value in seconds.items() if name not in each.moved},
                "steps": _durations(between, each),
            }
        )
    broker = settings.broker
    command = shlex.join(["python", "-m", "tests.bench.rebalances", *sys.argv[1:]])
    return {
        "goals": GOALS,
        "quiet": [round(each.seconds, 3) for each in quiet],
        "changes": changes,
        "load": load,
        "longest_pause_of_the_load": round(load_pause, 3),
        "heartbeat_interval": broker.heartbeat_interval / _SECOND,
        "session_timeout": broker.session_timeout / _SECOND,
        "surroundings": surroundings(command),
    }


def _durations(steps: Sequence[Step], change: Happening) -> dict[str, list[float]]:
    """Seconds of each step, over workers and partitions, and how far apart workers noticed."""
    found: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        if step.step != "start":
            found[step.step].append(round(step.seconds, 3))
    noticed = [
        step.began
        for step in steps
        if step.step == "checkpoint at revoke" and step.worker != change.worker
    ]
    if len(noticed) > 1:
        found["from the first to the last worker's notice"] = [
            round(max(noticed) - min(noticed), 3)
        ]
    left = [step.ended for step in steps if step.step == "leave group"]
    if change.kind == "leave" and left:
        found["from the signal to the group's notice"] = [round(left[0] - change.began, 3)]
        if noticed:
            found["from that to the first worker's notice"] = [round(min(noticed) - left[0], 3)]
    if change.kind == "kill" and noticed:
        found["from the signal to the first worker's notice"] = [
            round(min(noticed) - change.began, 3)
        ]
    return dict(found)


def as_text(result: Mapping[str, Any]) -> str:
    """The report as it is printed."""
    changes = result["changes"]
    lines = [
        "",
        f"{'':<26}{'changes':>8}   {'kept: median, worst':>21}   {'moved: median, worst':>21}"
        f"   {'moved of all':>13}",
    ]
    for kind, title in (
        ("join", "a worker joins"),
        ("leave", "a worker leaves (SIGTERM)"),
        ("kill", "a worker dies (SIGKILL)"),
    ):
        some = [each for each in changes if each["kind"] == kind]
        if some:
            lines.append(_line(title, some))
    lines.append(_line("joins and leaves", [each for each in changes if each["kind"] != "kill"]))
    for which, goal in result["goals"].items():
        worst = max(
            (s for each in changes if each["kind"] != "kill" for s in each[which].values()),
            default=0.0,
        )
        verdict = "met" if worst < goal else "NOT met"
        lines.append(
            f"partitions that were {which}: worst {worst:.2f} s, goal {goal:g} s: {verdict}"
        )
    quiet = result["quiet"]
    lines += [
        f"undisturbed, longest of a partition in {len(quiet)}: median "
        f"{statistics.median(quiet):.2f} s, worst {max(quiet):.2f} s; "
        f"longest pause of the load itself {result['longest_pause_of_the_load']:.2f} s",
        f"heart-beat interval {result['heartbeat_interval']:g} s, "
        f"session time-out {result['session_timeout']:g} s",
        "",
    ]
    lines += _step_lines(changes)
    lines += ["", f"load: {result['load']}"]
    lines += [f"{name}: {text}" for name, text in result["surroundings"].items()]
    return "\n".join(lines)


def _line(title: str, changes: Sequence[Mapping[str, Any]]) -> str:
    kept = [seconds for each in changes for seconds in each["kept"].values()]
    moved = [seconds for each in changes for seconds in each["moved"].values()]
    count = len(kept) + len(moved)
    return (
        f"{title:<26}{len(changes):>8}   {describe(kept):>21}   {describe(moved):>21}"
        f"   {len(moved):>5} of {count}"
    )


def _step_lines(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each step median and worst, over all changes of a kind."""
    kinds = [kind for kind in ("join", "leave", "kill") if any(c["kind"] == kind for c in changes)]
    header = "".join(f"   {kind + ': median, worst':>21}" for kind in kinds)
    lines = [f"{'step':<50}{header}"]
    for name in sorted({name for each in changes for name in each["steps"]}):
        cells = []
        for kind in kinds:
            seconds = [
                value
                for each in changes
                if each["kind"] == kind
                for value in each["steps"].get(name, ())
            ]
            cells.append(f"   {describe(seconds):>21}")
        lines.append(f"{name:<50}{''.join(cells)}")
    return lines
