"""`python -m tests.chaos.sinks --seed 1`: the sinks' stores fail under load, the worker is killed.

A real broker, a worker with the agents bars and indicators, `candlewick simulate` at a modest rate,
and behind the sinks a real InfluxDB (through an HTTP proxy of ours), a real PostgreSQL and an
archive on a small disk. Each store is stopped, killed, made to hang, to refuse and to cut off, and
the worker is killed meanwhile. At the end every record of the log is looked for in every store, and
every dead letter is accounted for. Exit code 1: something is missing, doubled or differing, a
letter too many or too few, or a fault that no sink has noticed. Printed besides: how long a closed
bar takes to be readable, in calm stretches and during each fault.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from app.broker import BrokerError
from tests.chaos.ending import run_to_its_end, tell
from tests.chaos.sinks_faults import FAULTS
from tests.chaos.sinks_run import RATE, SINKS, MissingServerError, Options, run


def _arguments() -> argparse.Namespace:
    faults = "\n".join(
        f"  {each.name:18} {each.seconds:3.0f} s  {each.meaning}" for each in FAULTS.values()
    )
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.sinks",
        description=f"{__doc__}\nfaults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="of the schedule and the market")
    parser.add_argument("--sinks", default=",".join(SINKS), help="of influx, postgres, archive")
    parser.add_argument("--faults", default="", help="names; all of the sinks' unless told")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="of faults; each comes once at least"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the faults' seconds")
    parser.add_argument("--rate", type=int, default=RATE, help="ticks a second")
    parser.add_argument(
        "--killed", help="faults during which the worker is killed, or none; all unless told"
    )
    parser.add_argument("--folder", type=Path, help="kept afterwards; else a temporary one")
    parser.add_argument("--report", type=Path, help="JSON; data/chaos-sinks-SEED.json unless told")
    return parser.parse_args()


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (text or "").split(",")))


def main() -> int:
    """The command; the exit code."""
    chosen = _arguments()
    sinks, faults = _listed(chosen.sinks), _listed(chosen.faults)
    killed = None if chosen.killed is None else _listed(chosen.killed.replace("none", ""))
    known = tuple(FAULTS)
    for what, given, there in (
        ("sinks", sinks, SINKS),
        ("faults", faults, known),
        ("killed", killed or (), known),
    ):
        if unknown := sorted(set(given) - set(there)):
            print(f"unknown {what} {unknown}; expected some of {','.join(there)}", file=sys.stderr)
            return 2
    options = Options(
        seed=chosen.seed,
        sinks=sinks,
        faults=faults,
        minutes=chosen.minutes,
        scale=chosen.scale,
        rate=chosen.rate,
        killed=killed,
        folder=chosen.folder,
    )
    if not options.chosen:
        print("none of the faults is of one of the sinks", file=sys.stderr)
        return 2
    # Topics that were just made: the first question may come too early, and is repeated.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    try:
        report = run_to_its_end(run(options))
    except MissingServerError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokerError as error:
        print(f"nothing was tried: {error}", file=sys.stderr)
        return 1
    return tell(report, chosen.report or Path("data") / f"chaos-sinks-{chosen.seed}.json")


if __name__ == "__main__":
    sys.exit(main())
