"""Where our worker's time goes: one round under py-spy, or under cProfile where that is missing."""

from __future__ import annotations

import pstats
import shutil
from collections import Counter
from pathlib import Path

from app.settings import Settings
from tests.bench import ways
from tests.bench.expected import Bar, Key

#: Functions that are printed.
SHOWN = 40
SAMPLES_A_SECOND = 500
#: Stages by what their stacks hold, the first that is found.
STAGES = {
    "forming bars": "SideChannel._send_forming",
    "decode": "Parser.parse (tables/parsing.py",
    "intake besides (texts, columns, ids)": "Intake.read",
    "remember ids": "Identifiers.take",
    "group, merge, close, publish": "BarsPartition.apply",
    "batches to the agent": "BarsState.apply",
    "checkpoint: freeze rows": "take (tables/snapshot.py",
    "checkpoint: RocksDB": "PartitionStore.write",
    "checkpoint: stored rows let go": "Windows.stored",
    "checkpoint: producer": "TransactionalProducer.",
    "checkpoint besides": "PartitionRunner.checkpoint",
    "fetch: values out of batches": "SlimRecords._unpack_batches",
    "fetch: join": "merge_batches",
    "fetch: sockets, parsing": "Thread-1",
    "sockets of the main thread": "_SelectorSocketTransport",
}
#: In the stacks of imports, which are not what is asked for.
IMPORTS = "<frozen importlib"


def profile(
    settings: Settings, folder: Path, records: int, expected: dict[Key, Bar], result: Path
) -> str:
    """Run one round of ours under a profiler; the table of functions by self time.

    `result` gets py-spy's collapsed stacks, or cProfile's statistics.
    """
    spy = shutil.which("py-spy")
    if spy is None:
        measured = ways.ours(settings, folder, records, expected, profile=result)
        head = f"cProfile, main thread from the first batch on: {measured.rate:,.0f} records/s"
        return f"{head}\n{_from_statistics(result)}"
    prefix = [
        spy, "record", "--format", "raw", "--output", str(result), "--threads", "--function",
        "--rate", str(SAMPLES_A_SECOND), "--nonblocking", "--",
    ]  # fmt: skip
    measured = ways.ours(settings, folder, records, expected, prefix=prefix)
    head = f"py-spy, threads that are not idle: {measured.rate:,.0f} records/s"
    return f"{head}\n{_from_stacks(result)}"


def _from_statistics(path: Path) -> str:
    statistics = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    rows = sorted(
        ((own, total, calls, where) for where, (_, calls, own, total, _) in statistics.items()),
        reverse=True,
    )
    lines = [f"{'self s':>8} {'total s':>8} {'calls':>10}  function"]
    for own, total, calls, (file, line, name) in rows[:SHOWN]:
        place = f"{'/'.join(Path(file).parts[-2:])}:{line}" if line else file
        lines.append(f"{own:>8.3f} {total:>8.3f} {calls:>10,}  {name} ({place})")
    return "\n".join(lines)


def _from_stacks(path: Path) -> str:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        if IMPORTS in stack:
            continue
        frames = stack.split(";")
        stages[next((name for name, mark in STAGES.items() if mark in stack), "other")] += int(
            samples
        )
        threads[frames[0]] += int(samples)
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            total[frame] += int(samples)
    every = max(1, own.total())
    lines = [f"{share / every:>7.1%}  {name}" for name, share in threads.most_common(6)]
    lines += ["", *(f"{share / every:>7.1%}  {name}" for name, share in stages.most_common())]
    for title, counted in (("self", own), ("with what it calls", total)):
        lines += ["", title]
        ranked = [(name, seen) for name, seen in counted.most_common() if name not in threads]
        lines += [f"{seen / every:>7.1%}  {name}" for name, seen in ranked[:SHOWN]]
    return "\n".join(lines)
