"""`python -m tests.bench.formats`: what a trade is written as, and what that is worth.

The same trades as JSON objects, as MessagePack maps, and as JSON arrays of `ticks.ARRAY_TRADES`
objects a record, each in a topic of its own (lz4 batches, as a feed writes them), read by bare
aiokafka, by our unpacking of record batches alone, and by a worker of ours; in processes of their
own, the forms taking turns. Ours takes no arrays: their row says what is the most that they could
save. After each round of ours its bars are compared with the oracle's.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.broker import BrokerConfig, EmbeddedBroker
from app.setting_groups_broker import BrokerSettings
from app.topics import ticks_topic
from tests.bench import report
from tests.bench.apart import apart, say
from tests.bench.child import ChildError
from tests.bench.inputs import Input, Plan
from tests.bench.ticks import ARRAY, ARRAY_TRADES, FORMS, FULL, JSON, RECORDS, chunks, make_ticks
from tests.bench.ways import Round, WrongBarsError

LIMIT_SECONDS = 3_600
WAYS = ("bare", "slim", "ours")
NAMES = {
    JSON: "JSON object",
    "msgpack": "MessagePack map",
    ARRAY: f"JSON array of {ARRAY_TRADES}",
}
#: Trades of which values are weighed.
WEIGHED = 40_000


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.formats",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--records", type=int, default=4_000_000, help="trades")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--record", choices=RECORDS, default=FULL)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args(given)
    chosen.json = None if chosen.json is None else chosen.json.resolve()
    return chosen


def bytes_a_trade(symbols: int, record: str, form: str) -> float:
    """Mean bytes of a trade's value, before any compression."""
    ticks = make_ticks(WEIGHED, symbols, 0)
    values = (value for routed in chunks(ticks, 1, record=record, form=form) for value in routed[0])
    return sum(map(len, values)) / WEIGHED


def stored_bytes(folder: Path, topic: str) -> int:
    """Bytes of a topic's log on the broker, compressed as it was sent."""
    return sum(path.stat().st_size for path in folder.rglob(f"{topic}-*/*.log"))


def ways_of(form: str) -> tuple[str, ...]:
    """The ways that read a form; bare clients read bytes."""
    return tuple(way for way in WAYS if form != ARRAY or way != "ours")


def figures(
    forms: Mapping[str, Mapping[str, Any]], rounds: Mapping[str, Mapping[str, Sequence[Round]]]
) -> dict[str, Any]:
    """Of each form and way the best rate and the least processor time a trade.

    Args:
        forms: of each form what is known of it beside the rounds.
        rounds: by form, then by way; `records` of a round are trades.
    """
    return {
        form: {
            **known,
            "ways": {
                way: {
                    "trades_per_second": round(report.best(found).rate),
                    # Seconds a million are microseconds each.
                    "cpu_us": round(report.cheapest(found), 3),
                    "rounds": [round(each.rate) for each in found],
                }
                for way, found in rounds[form].items()
            },
        }
        for form, known in forms.items()
    }


def as_text(found: Mapping[str, Any]) -> str:
    """The table as it is printed: a row a form, by JSON in brackets."""
    shown = found["forms"]
    lines = [
        found["input"],
        f"{'a trade as':<20}{'bytes':>7}{'lz4':>7}"
        + "".join(f"{way + ', trades/s':>24}{'CPU us':>8}" for way in WAYS),
    ]
    for form, figures_of in shown.items():
        line = f"{NAMES[form]:<20}{figures_of['bytes']:>7.1f}{figures_of['stored_bytes']:>7.1f}"
        for way in WAYS:
            one, plain = figures_of["ways"].get(way), shown.get(JSON, figures_of)["ways"].get(way)
            if one is None:
                line += f"{'not read':>24}{'':>8}"
                continue
            ratio = one["trades_per_second"] / plain["trades_per_second"]
            line += f"{one['trades_per_second']:>15,} ({ratio:.2f}x){one['cpu_us']:>8.2f}"
        lines.append(line)
    if {JSON, ARRAY} <= shown.keys():
        saved = shown[JSON]["ways"]["slim"]["cpu_us"] - shown[ARRAY]["ways"]["slim"]["cpu_us"]
        lines.append(f"arrays could save ours at most what unpacking costs less: {saved:.2f} us")
    lines += [f"{name}: {found[name]}" for name in ("date", "machine", "load", "versions")]
    return "\n".join([*lines, f"command: {found['command']}"])


def measure(chosen: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """All rounds, the forms and ways taking turns.

    Raises:
        WrongBarsError: bars of ours are wrong.
        ChildError: a process has failed.
    """
    plan = Plan(
        url, folder, chosen.records, chosen.record, chosen.partitions, 0,
        BrokerSettings().fetch_max_bytes,
    )  # fmt: skip
    inputs, known = {}, {}
    for form in FORMS:
        one = inputs[form] = Input(replace(plan, form=form), chosen.symbols, ())
        say(f"{form}: {one.prepare()}")
        stored = stored_bytes(folder, ticks_topic(one.settings()))
        known[form] = {
            "bytes": round(bytes_a_trade(chosen.symbols, chosen.record, form), 1),
            "stored_bytes": round(stored / chosen.records, 1),
        }
    rounds: dict[str, dict[str, list[Round]]] = {
        form: {way: [] for way in ways_of(form)} for form in FORMS
    }
    for number in range(1, chosen.rounds + 1):
        for way in WAYS:
            for form in FORMS:
                if way in rounds[form]:
                    one_round = inputs[form].measure(way, number)
                    # An array is one record of Kafka's.
                    measured = replace(one_round, records=chosen.records)
                    rounds[form][way].append(measured)
                    say(f"round {number}: {form}, {way}: {measured.rate:,.0f} trades/s")
    return {
        "input": f"{chosen.records:,} trades of {chosen.symbols:,} symbols, {chosen.record} "
        f"record, {chosen.partitions} partitions",
        "forms": figures(known, rounds),
    }


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    with apart("formats", limit_seconds=LIMIT_SECONDS) as folder:
        broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
        try:
            broker.start()
            broker.wait_ready()
            found = measure(chosen, folder, broker.url)
        except (WrongBarsError, ChildError) as error:
            print(f"bench failed: {error}", file=sys.stderr)
            return 1
        finally:
            broker.stop()
        command = shlex.join(["python", "-m", "tests.bench.formats", *sys.argv[1:]])
        found |= report.surroundings(command)
        say(as_text(found))
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 0


if __name__ == "__main__":
    sys.exit(main())
