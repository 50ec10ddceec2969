"""Simulated histories: many of them, or one with what happens in it.

    python -m tests.simulation --seeds 2000 [--first 0] [--processes 2]
    python -m tests.simulation --seed 1234 [--records 17] [--faults 3] [--noise 1]
        [--skip-records 3,4] [--skip-faults 0] [--quiet slow,stray] [--trace]

Exit code 1 where a history is wrong; of the first three that are, the shortest is printed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.history import History
from tests.simulation.judge import faults
from tests.simulation.loop import HungError
from tests.simulation.plan import QUIETABLE, Plan
from tests.simulation.running import Tally, quiet, run_all, shortest

#: Failing seeds that are shrunk.
SHRUNK = 3


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(each) for each in text.split(",") if each)


def _weights(text: str) -> frozenset[str]:
    names = frozenset(each for each in text.split(",") if each)
    unknown = names - set(QUIETABLE)
    if unknown:
        raise argparse.ArgumentTypeError(f"{sorted(unknown)}: expected some of {QUIETABLE}")
    return names


def replay(plan: Plan, *, tracing: bool) -> int:
    """Run one history and print what happened in it."""
    history = History(plan, tracing=tracing)
    with quiet():
        try:
            outcome = history.run()
            found = faults(outcome)
        except HungError as error:
            found = [f"hung: {str(error).splitlines()[0]}"]
    print("\n".join(history.world.events))
    print("\n".join(found) if found else "all is right")
    return 1 if found else 0


def simulate(first: int, count: int, processes: int) -> int:
    """Run many and print a summary."""
    began = time.monotonic()

    def tell(part: Tally) -> None:
        for seed, found in sorted(part.divergences.items()):
            print(f"seed {seed}: {'; '.join(found)}", flush=True)

    tally = run_all(first, count, processes, tell)
    print(tally.report(time.monotonic() - began), flush=True)
    for seed in sorted(tally.divergences)[:SHRUNK]:
        print(shortest(seed), flush=True)
    return 1 if tally.divergences else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="one history")
    parser.add_argument("--records", type=int, default=Plan(0).records)
    parser.add_argument("--faults", type=int, default=Plan(0).faults)
    parser.add_argument("--noise", type=int, default=0)
    parser.add_argument("--skip-records", type=_numbers, default=frozenset())
    parser.add_argument("--skip-faults", type=_numbers, default=frozenset())
    parser.add_argument("--quiet", type=_weights, default=frozenset())
    parser.add_argument("--trace", action="store_true", help="every request, too")
    chosen = parser.parse_args(arguments)
    if chosen.seed is None:
        return simulate(chosen.first, chosen.seeds, chosen.processes)
    plan = Plan(
        chosen.seed,
        chosen.records,
        chosen.faults,
        chosen.noise,
        chosen.skip_records,
        chosen.skip_faults,
        chosen.quiet,
    )
    return replay(plan, tracing=chosen.trace)


if __name__ == "__main__":
    sys.exit(main())
