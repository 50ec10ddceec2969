"""`python -m tests.bench`, what `make bench` runs: ours, a bare client, ordinary Faust, one run.

An embedded broker in a temporary folder, one seeded input (full contract, lz4 batches as
`candlewick replay` writes them, all of it there before anything is timed), every way in a process
of its own, the ways taking turns. What is timed of each: `ways.py`. Every bar that ours commits is
compared with `expected.py` after its round; a wrong one, or an error, is exit code 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from app.broker import BrokerConfig, EmbeddedBroker
from app.setting_groups import BrokerSettings
from app.settings import PREFIX, Settings
from tests.bench import report, ways
from tests.bench.child import ChildError
from tests.bench.expected import Bar, Key, expected_bars
from tests.bench.log import write_ticks
from tests.bench.profiling import profile
from tests.bench.ticks import RATE, Ticks, make_ticks

WAYS = ("bare", "ours", "faust")
#: A run of the defaults takes some two minutes; after this one ends itself.
LIMIT_SECONDS = 900


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000, help="of bare and ours")
    parser.add_argument("--faust-records", type=int, default=30_000, help="of idiomatic Faust")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--disorder-ms", type=int, default=0, help="below 1000: no revisions")
    parser.add_argument(
        "--fetch-bytes", type=int, default=BrokerSettings().fetch_max_bytes,
        help="of a partition and fetch, for bare and ours (default: the setting's)",
    )  # fmt: skip
    parser.add_argument("--only", default=",".join(WAYS), help="some of %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE",
        help="one round of ours under py-spy (or cProfile), its data to FILE; nothing else",
    )  # fmt: skip
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",")
    if not set(chosen.only) <= set(WAYS):
        parser.error(f"--only {','.join(chosen.only)}; expected some of {','.join(WAYS)}")
    for name in ("json", "profile"):
        path = getattr(chosen, name)
        setattr(chosen, name, None if path is None else path.resolve())
    return chosen


def say(text: str) -> None:
    """Print progress at once."""
    print(text, flush=True)


class Bench:
    """One run: the settings, the input, what it should become."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, url: str) -> None:
        self.chosen = chosen
        self.folder = folder
        self._url = url
        self._name = f"bench-{secrets.token_hex(4)}"
        self._written = 0
        self.expected: dict[Key, Bar] = {}

    def settings(self, suffix: str = "", deployment: str = "bench") -> Settings:
        """Defaults, on our broker; the input topic's name has the suffix."""
        return Settings(
            broker={"url": self._url, "fetch_max_bytes": self.chosen.fetch_bytes},  # type: ignore[arg-type]
            topics={"partitions": self.chosen.partitions},  # type: ignore[arg-type]
            topic_prefix=f"{self._name}{suffix}.",
            deployment=deployment,
            agents=("bars",),
        )

    def prepare(self, ticks: Ticks) -> None:
        """Write the input, compute the bars."""
        began = time.monotonic()
        self._written = write_ticks(self.settings(), ticks, control=True)
        if "faust" in self.chosen.only and not self.chosen.profile:
            few = make_ticks(self.chosen.faust_records, self.chosen.symbols, 0)
            write_ticks(self.settings("-faust"), few, control=False)
        self.expected = expected_bars(ticks)
        say(
            f"input: {len(ticks):,} trades, {len(self.expected):,} bars to come of them "
            f"({time.monotonic() - began:.0f} s)"
        )

    def measure(self, way: str, number: int) -> ways.Round:
        """One round of a way."""
        folder = self.folder / f"{way}-{number}"
        if way == "bare":
            return ways.bare(self.settings(), folder, self._written)
        if way == "faust":
            records = self.chosen.faust_records
            return ways.idiomatic_faust(self.settings("-faust"), folder, records, number)
        settings = self.settings(deployment=f"bench-{number}")
        return ways.ours(settings, folder, self._written, self.expected)

    def profile(self) -> str:
        """One round of ours under a profiler."""
        return profile(
            self.settings(), self.folder / "profile", self._written, self.expected,
            self.chosen.profile,
        )  # fmt: skip


def run(chosen: argparse.Namespace, folder: Path) -> None:
    """Start a broker, measure, report; the broker is stopped whatever happens."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    try:
        broker.start()
        broker.wait_ready()
        bench = Bench(chosen, folder, broker.url)
        bench.prepare(make_ticks(chosen.records, chosen.symbols, chosen.disorder_ms * 1_000_000))
        if chosen.profile:
            say(bench.profile())
            return
        measured: dict[str, list[ways.Round]] = {way: [] for way in WAYS if way in chosen.only}
        for number in range(1, chosen.rounds + 1):
            for way, rounds in measured.items():
                rounds.append(bench.measure(way, number))
                right = ", all bars right" if way == "ours" else ""
                say(f"round {number}: {report.NAMES[way]}: {rounds[-1].rate:,.0f}/s{right}")
        defaults = bench.settings()
        input_text = (
            f"{chosen.records:,} trades of {chosen.symbols} symbols over {chosen.partitions} "
            f"partitions, {RATE:,} a second of event time, disorder {chosen.disorder_ms} ms, "
            f"{defaults.topics.compression}, fetches of {chosen.fetch_bytes:,} bytes; "
            f"{len(bench.expected):,} bars of {len(defaults.bars.intervals)} intervals; "
            f"idiomatic Faust {chosen.faust_records:,}"
        )
        command = shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]])
        result = report.as_json(measured, input_text, command)
        say(report.as_text(result))
        if chosen.json:
            chosen.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    finally:
        broker.stop()


def _stop(number: int, _frame: FrameType | None) -> None:
    """Leave all blocks, which ends every process of ours."""
    raise SystemExit(f"bench stopped by {signal.Signals(number).name}")


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(LIMIT_SECONDS)
    # Topics that were just made: the first send may come too early, and is repeated.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-bench-") as name:
        empty = Path(name) / "empty.toml"
        empty.touch()
        os.environ["CANDLEWICK_CONFIG"] = str(empty)
        # The engine is measured, not what writes beside it.
        os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
        try:
            run(chosen, Path(name))
        except (ways.WrongBarsError, ChildError) as error:
            print(f"bench failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
