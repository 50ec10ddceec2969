"""`python -m tests.chaos --seed 1 --minutes 10 --workers 3`: see `tests/chaos/run.py`.

Exit code 0 where nothing was lost, doubled or wrong and enough faults came; else 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.ending import run_to_its_end, tell
from tests.chaos.faults import FAULTS, MOST_WORKERS
from tests.chaos.run import RATE, Options, run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Faults on real workers and a real broker, and whether the outputs are exact.",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the schedule and the records")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--workers", type=int, default=3, choices=range(1, MOST_WORKERS + 1), help="processes"
    )
    parser.add_argument("--kinds", default=",".join(FAULTS), help="of faults; all unless told")
    parser.add_argument("--rate", type=int, default=RATE, help="trades a second, and quotes")
    parser.add_argument("--folder", type=Path, help="kept afterwards; else a temporary one")
    parser.add_argument("--report", type=Path, help="JSON; data/chaos-SEED.json unless told")
    return parser.parse_args()


def main() -> int:
    """The command; the exit code."""
    chosen = _arguments()
    kinds = tuple(chosen.kinds.split(","))
    if unknown := sorted(set(kinds) - FAULTS.keys()):
        print(f"unknown kinds {unknown}; expected some of {','.join(FAULTS)}", file=sys.stderr)
        return 2
    options = Options(
        chosen.seed, chosen.minutes, chosen.workers, kinds, chosen.folder, chosen.rate
    )
    report = run_to_its_end(run(options))
    return tell(report, chosen.report or Path("data") / f"chaos-{chosen.seed}.json")


if __name__ == "__main__":
    sys.exit(main())
