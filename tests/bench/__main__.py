"""`python -m tests.bench`, what `make bench` runs: ours, bare clients and others, in one run.

An embedded broker in a temporary folder, seeded input (lz4 batches as `candlewick replay` writes
them, all of it there before anything is timed), every way in a process of its own, the ways taking
turns. What is timed of each: `ways.py`, `peers/rounds.py`. The bars of each are compared with
`expected.py` after its round; a wrong one, or an error, is exit code 1. What is not installed is
left out, and the table says how to install it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.broker import BrokerConfig, EmbeddedBroker
from app.setting_groups_broker import BrokerSettings
from tests.bench import report, ways
from tests.bench.apart import apart, say
from tests.bench.child import ChildError
from tests.bench.inputs import EVERYWHERE, PEER_RECORDS, Input, Plan
from tests.bench.peers import place
from tests.bench.ticks import FULL, RECORDS

#: The number of symbols that every way is measured with, where it is asked for.
MAIN_SYMBOLS = 500
#: A run of the defaults takes some ten minutes; after this one ends itself.
LIMIT_SECONDS = 3_600
#: What a round may end with.
FAILURES = (ways.WrongBarsError, ChildError)
#: Characters of the reason that the table shows.
SHOWN = 300


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--records", type=int, default=4_000_000, help="trades of the bare clients and ours"
    )
    parser.add_argument(
        "--peer-records", type=_numbers, default={}, metavar="WAY=N,...",
        help="trades of others; " + ",".join(f"{way}={n}" for way, n in PEER_RECORDS.items()),
    )  # fmt: skip
    parser.add_argument(
        "--symbols", default="500,8,10000",
        help=f"numbers of them; all ways with {MAIN_SYMBOLS} or the first, "
        f"{' and '.join(EVERYWHERE)} with each (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--record", choices=RECORDS, default=FULL,
        help="all fields and five intervals, or symbol, price, size, time and bars of a second",
    )  # fmt: skip
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disorder-ms", type=int, default=0, help="below 1000: no revisions")
    parser.add_argument(
        "--fetch-bytes", type=int, default=BrokerSettings().fetch_max_bytes,
        help="of a partition and fetch, for bare and ours (default: the setting's)",
    )  # fmt: skip
    parser.add_argument("--only", default=",".join(report.NAMES), help="some of %(default)s")
    parser.add_argument("--no-stages", action="store_true", help="no round with clocks in it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE",
        help="one round of ours under py-spy (or cProfile), its data to FILE; nothing else",
    )  # fmt: skip
    chosen = parser.parse_args(given)
    chosen.only = chosen.only.split(",")
    if not set(chosen.only) <= report.NAMES.keys():
        parser.error(f"--only {','.join(chosen.only)}; expected some of {','.join(report.NAMES)}")
    chosen.symbols = [int(each) for each in chosen.symbols.split(",")]
    if not set(chosen.peer_records) <= PEER_RECORDS.keys():
        parser.error(f"--peer-records: expected some of {','.join(PEER_RECORDS)}")
    if chosen.disorder_ms and set(chosen.only) & PEER_RECORDS.keys():
        # They take what comes for what traded next.
        parser.error(f"--disorder-ms: not with {','.join(PEER_RECORDS)}; use --only")
    for name in ("json", "profile"):
        path = getattr(chosen, name)
        setattr(chosen, name, None if path is None else path.resolve())
    return chosen


def _numbers(text: str) -> dict[str, int]:
    pairs = (each.partition("=") for each in text.split(","))
    return {way: int(number) for way, _, number in pairs}


def main_symbols(numbers: Sequence[int]) -> int:
    """The number of symbols that all ways are measured with."""
    return MAIN_SYMBOLS if MAIN_SYMBOLS in numbers else numbers[0]


def ways_of(symbols: int, main: int, only: Sequence[str], missing: Mapping[str, str]) -> list[str]:
    """The ways to measure with so many symbols, in the order of their turns."""
    turns = only if symbols == main else [way for way in only if way in EVERYWHERE]
    return [way for way in turns if way not in missing]


def measure(
    chosen: argparse.Namespace, one: Input, turns: Sequence[str], failed: dict[str, str]
) -> report.Measured:
    """All rounds of an input, the ways taking turns; another's failure ends its rounds alone."""
    say(one.prepare())
    rounds: dict[str, list[ways.Round]] = {way: [] for way in turns}
    for number in range(1, chosen.rounds + 1):
        for way in list(rounds):
            try:
                rounds[way].append(one.measure(way, number))
            except FAILURES as error:
                if way not in PEER_RECORDS:
                    raise
                say(f"round {number}: {report.NAMES[way]} failed: {error}")
                failed[way] = f"failed in round {number}: {' '.join(str(error).split())[:SHOWN]}"
                del rounds[way]
            else:
                say(f"round {number}: {report.NAMES[way]}: {rounds[way][-1].rate:,.0f}/s")
    stages = {}
    if "ours" in turns and not chosen.no_stages:
        stages = one.stage_costs()
    return one.measured(rounds, stages)


def run(chosen: argparse.Namespace, folder: Path) -> int:
    """Start a broker, measure, report; the exit code. The broker is stopped whatever happens."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        plan = Plan(
            broker.url, folder, chosen.records, chosen.record, chosen.partitions,
            chosen.disorder_ms, chosen.fetch_bytes, PEER_RECORDS | chosen.peer_records,
        )  # fmt: skip
        main = main_symbols(chosen.symbols)
        if chosen.profile:
            one = Input(plan, main, ())
            say(one.prepare())
            say(one.profile(chosen.profile))
            return 0
        missing = {way: why for way, why in place.missing().items() if way in chosen.only}
        failed: dict[str, str] = {}
        inputs = []
        for symbols in chosen.symbols:
            turns = ways_of(symbols, main, chosen.only, missing)
            inputs.append(measure(chosen, Input(plan, symbols, turns), turns, failed))
        command = shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]])
        result = report.as_json(inputs, command, missing | failed, place.versions())
        say(report.as_text(result))
        if chosen.json:
            chosen.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return 1 if failed else 0
    finally:
        broker.stop()


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    with apart("bench", limit_seconds=LIMIT_SECONDS) as folder:
        try:
            return run(chosen, folder)
        except FAILURES as error:
            print(f"bench failed: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
