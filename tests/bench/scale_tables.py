"""The tables of `tests.bench.scale`, from plain figures; growth from line to line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Issue 9: a tick of the most symbols against one of the fewest, and bytes a symbol.
SYMBOLS_GOAL, BYTES_GOAL = 1.5, 4096
_MEGABYTE = 1024 * 1024

Figures = Mapping[str, Any]


def growth(sizes: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Return by which power of the size a whole cost grows, from each line to the next.

    1 is in proportion, 2 quadratic; 0 where it does not grow.

    Args:
        sizes: ascending.
        costs: of the whole, above 0.
    """
    return [
        math.log(costs[n + 1] / costs[n]) / math.log(sizes[n + 1] / sizes[n])
        for n in range(len(sizes) - 1)
    ]


def verdict(value: float, goal: float) -> str:
    """Return whether a goal of at most so much is met."""
    return f"at most {goal:g} asked for: {'met' if value <= goal else 'NOT met'}"


def cases(found: Sequence[Figures], size: str) -> list[str]:
    """A worker's rounds: over `symbols` or `partitions`, ascending."""
    first = found[0]
    other = "partitions" if size == "symbols" else "symbols"
    lines = [
        f"{first['records']:,} trades, {first['rate']:,} a second of event time, "
        f"{first[other]} {other}: a worker, Kafka and store included",
        f"{size:>10}{'CPU us/trade':>14}{'x first':>9}{'wall us/trade':>15}{'x first':>9}"
        f"{'bars/trade':>12}{'peak MiB':>10}",
    ]
    for each in found:
        lines.append(
            f"{each[size]:>10,}{each['cpu_us']:>14.2f}{each['cpu_us'] / first['cpu_us']:>9.2f}"
            f"{each['wall_us']:>15.2f}{each['wall_us'] / first['wall_us']:>9.2f}"
            f"{each['bars'] / each['records']:>12.4f}{each['memory'] / _MEGABYTE:>10,.0f}"
        )
    if size == "symbols":
        last = found[-1]
        for name, text in (("cpu_us", "processor time"), ("wall_us", "wall time")):
            ratio = last[name] / first[name]
            lines.append(
                f"{text} a trade, {last[size]:,} against {first[size]:,}: {ratio:.2f}x, "
                f"{verdict(ratio, SYMBOLS_GOAL)}"
            )
    return lines


def opened(found: Sequence[Figures]) -> list[str]:
    """Memory of open windows."""
    lines = [
        "open windows of five intervals, bytes a symbol above what is there before, in a process "
        "of its own",
        f"{'symbols':>10}{'first trade':>13}{'two seconds':>13}{'after checkpoint':>18}",
    ]
    for each in found:
        lines.append(
            f"{each['symbols']:>10,}{each['bytes_a_symbol']:>13,.0f}"
            f"{each['bytes_a_symbol_two_seconds']:>13,.0f}"
            f"{each['bytes_a_symbol_after_checkpoint']:>18,.0f}"
        )
    names = ("bytes_a_symbol", "bytes_a_symbol_two_seconds", "bytes_a_symbol_after_checkpoint")
    worst = max(each[name] for each in found for name in names)
    lines.append(f"the most of them: {worst:,.0f}, {verdict(worst, BYTES_GOAL)}")
    return lines


def identified(found: Figures) -> list[str]:
    """Memory of trade ids."""
    held, used = found["held"], found["bytes"]
    most = max(held)
    full = held.index(most)
    an_id = found["bytes_an_id"]
    minutes = [each for each in (0, full // 2, full, len(held) - 1) if each < len(held)]
    shown = ", ".join(
        f"minute {each + 1}: {held[each]:,} ids, {(used[each] - used[0]) / _MEGABYTE:+.1f} MiB"
        for each in minutes
    )
    return [
        f"trade ids: {an_id:.0f} bytes each; {an_id * 60:,.0f} a minute of horizon for one trade "
        f"a second, {an_id * 60_000 / _MEGABYTE:.1f} MiB for 1,000",
        f"  {found['ids_a_second']:,} a second with a horizon of "
        f"{found['horizon_minutes']:g} min: {shown}",
        f"  from minute {full + 1} on they are forgotten as they come: at most {most:,}",
    ]


def closed(found: Figures) -> list[str]:
    """Rows and memory of closed windows."""
    return [
        f"closed windows, a trade a second of each symbol: "
        f"{found['bytes_a_symbol_and_minute_of_horizon']:,.0f} bytes of rows in the store a symbol "
        f"and minute of horizon; {found['rows_a_symbol']:,} rows a symbol with "
        f"{found['horizon_minutes']:g} min, at most {found['rows_a_symbol_at_most']:,}",
        f"  in memory {found['bytes_of_memory_a_symbol']:+,.0f} bytes a symbol from the horizon's "
        "end on: what is stored is read when it is needed",
    ]


def applied(found: Sequence[Figures]) -> list[str]:
    """Processor time of a partition's state alone."""
    lines = [
        "a partition's state alone, processor time",
        f"{'event/s':>10}{'symbols':>10}{'apply us/trade':>16}{'checkpoints us/trade':>22}"
        f"{'x first':>9}{'rows/trade':>12}{'bars/trade':>12}",
    ]
    first: dict[int, float] = {}
    for each in found:
        whole = each["apply_us_a_trade"] + each["take_us_a_trade"]
        of_first = first.setdefault(each["rate"], whole)
        lines.append(
            f"{each['rate']:>10,}{each['symbols']:>10,}{each['apply_us_a_trade']:>16.3f}"
            f"{each['take_us_a_trade']:>22.3f}{whole / of_first:>9.2f}"
            f"{each['rows_a_trade']:>12.4f}{each['bars_a_trade']:>12.4f}"
        )
    return lines


def taken(found: Sequence[Figures]) -> list[str]:
    """Processor time to freeze changed rows."""
    sizes = [each["symbols"] for each in found]
    powers = growth(sizes, [each["milliseconds"] for each in found])
    lines = [
        "freezing a checkpoint, each symbol's row changed",
        f"{'rows':>10}{'ms':>10}{'us a row':>10}{'grows by the power':>20}",
    ]
    for each, power in zip(found, [None, *powers], strict=True):
        lines.append(
            f"{each['symbols']:>10,}{each['milliseconds']:>10.1f}{each['us_a_row']:>10.2f}"
            f"{'' if power is None else format(power, '.2f'):>20}"
        )
    return lines


def checkpoints(found: Sequence[Figures]) -> list[str]:
    """Whole checkpoints: `asdict` of `Checkpoints`."""
    rows = [each["rows"] for each in found]
    powers = growth(rows, [each["milliseconds"] for each in found])
    phases = list(found[0]["phases"])
    lines = [
        "whole checkpoints of changed rows and their trade ids, one partition, on average",
        f"{'rows':>10}{'ms':>10}{'us a row':>10}{'grows by the power':>20}"
        + "".join(f"{name + ' ms':>16}" for name in phases)
        + f"{'checkpoints':>13}",
    ]
    for each, power in zip(found, [None, *powers], strict=True):
        lines.append(
            f"{each['rows']:>10,.0f}{each['milliseconds']:>10.1f}"
            f"{each['milliseconds'] / each['rows'] * 1e3:>10.1f}"
            f"{'' if power is None else format(power, '.2f'):>20}"
            + "".join(f"{each['phases'][name]:>16.1f}" for name in phases)
            + f"{each['checkpoints']:>13}"
        )
    return lines
