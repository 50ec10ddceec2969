"""Symbols set against each other: correlation, beta, ratio and spread of pairs of bars.

Data that flows: closed bars of one partition -> `Router` -> legs and marks of progress, re-keyed by
the pair's name, in the pairs' input topic -> `PairsBook`, which joins the two legs by the start of
the bar (joining.py) and feeds learners (statistics.py) -> `PairRecord`s.

Invariants (tests/unit/test_crossing.py):

- A pair is published once both its bars are there, and all earlier starts are decided. Each leg's
  stream is its own watermark: it comes in order from one partition, so a later bar says that no
  earlier one will come. Marks tell the same of a leg that does not trade, as long as its partition
  moves on; they release memory, and change no output.
- How the streams of several partitions interleave changes no pair at its highest revision: what of
  a leg counts is decided by that leg's stream alone.
- A partition that does not move at all holds back only what its own legs would join; what waits
  for it is bounded (`max_waiting`), and what is given up is counted in the pair's `left_out`.
- A revision of the bars joined last is exact: the learners take back what they learned.
"""

from tables.crossing.book import PairsBook
from tables.crossing.pairs import Pair, PairsConfiguration
from tables.crossing.records import LegRecord, PairRecord, ProgressRecord, input_decoder
from tables.crossing.router import Routed, Router

__all__ = [
    "LegRecord",
    "Pair",
    "PairRecord",
    "PairsBook",
    "PairsConfiguration",
    "ProgressRecord",
    "Routed",
    "Router",
    "input_decoder",
]
