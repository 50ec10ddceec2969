"""From a plan that fails to the shortest one that still does.

Whole kinds of faults first, then faults of workers, then records, in halves and quarters as delta
debugging does. Leaving something out changes what happens when, and so the interleaving: a shorter
plan is tried with a few of them before it is given up.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.plan import QUIETABLE, Plan

#: Interleavings that a shorter plan is tried with.
NOISES = 3
#: Histories in all.
MOST_TRIES = 150


class Shrinker:
    """Looks for shorter plans that fail.

    Args:
        fails: runs a plan.
    """

    def __init__(self, fails: Callable[[Plan], bool]) -> None:
        self._fails = fails
        self.tries = 0

    def shrink(self, plan: Plan) -> Plan:
        """The shortest failing plan that was found; the plan itself where none is."""
        before = None
        while before != plan and self.tries < MOST_TRIES:
            before = plan
            plan = self._quieter(plan)
            plan = self._fewer(plan, "skip_faults", plan.fault_numbers())
            plan = self._shorter(plan)
            records = [each for each in range(plan.records) if each not in plan.skip_records]
            plan = self._fewer(plan, "skip_records", records)
        return plan

    def _try(self, plan: Plan) -> Plan | None:
        for noise in dict.fromkeys((plan.noise, *range(NOISES))):
            if self.tries >= MOST_TRIES:
                return None
            self.tries += 1
            tried = plan.without(noise=noise)
            if self._fails(tried):
                return tried
        return None

    def _quieter(self, plan: Plan) -> Plan:
        everything = self._try(plan.without(quiet=frozenset(QUIETABLE)))
        if everything is not None:
            return everything
        for name in QUIETABLE:
            if name not in plan.quiet and getattr(plan.weights(), name):
                plan = self._try(plan.without(quiet=plan.quiet | {name})) or plan
        return plan

    def _shorter(self, plan: Plan) -> Plan:
        """Fewer records from the end, by halves of what may go."""
        least, most = 0, plan.records
        while least < most:
            middle = (least + most) // 2
            shorter = self._try(plan.without(records=middle))
            if shorter is None:
                least = middle + 1
            else:
                plan, most = shorter, middle
        return plan

    def _fewer(self, plan: Plan, name: str, numbers: list[int]) -> Plan:
        """Leave out as many of the numbers as can be, in ever smaller pieces."""
        size = max(1, len(numbers) // 2)
        while numbers:
            kept: list[int] = []
            for begin in range(0, len(numbers), size):
                piece = numbers[begin : begin + size]
                skipped = getattr(plan, name) | frozenset(piece)
                shorter = self._try(plan.without(**{name: skipped}))
                if shorter is None:
                    kept += piece
                else:
                    plan = shorter
            if size == 1:
                break
            numbers, size = kept, max(1, size // 2)
        return plan
