"""Who gets which partitions at a rebalance: evenly, and as few as possible change hands.

Faust's own assignor first takes from every worker what it has above the smallest fair share, and
deals that out round robin (faust 0.15.3, assignor/copartitioned_assignor.py, `get_assignment`): of
eight partitions with two workers that a third joins, four changed hands where two must, some
between the two that stay; of ten with four workers it can leave 3, 3, 3 and 1. Needed:
`tests/unit/test_assignor.py`. To delete when Faust does as well.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from faust.assignor import partition_assignor
from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor


class EvenAssignor(CopartitionedAssignor):
    """Faust's assignor of copartitioned topics, for applications without standbys."""

    def get_assignment(self) -> MutableMapping[str, CopartitionedAssignment]:
        """Take away what is too much, give it to those who have least."""
        if self.replicas:
            return super().get_assignment()
        # Workers that slept may claim what others have.
        self._unassign_overassigned(active=True)
        clients = sorted(self._client_assignments.values(), key=_count, reverse=True)
        share, more = divmod(self.num_partitions, len(clients))
        for number, client in enumerate(clients):
            # Who has most is the one to have one more.
            for partition in sorted(client.actives)[share + (number < more) :]:
                client.unassign_partition(partition, active=True)
        for partition in self._get_unassigned(active=True):
            min(clients, key=_count).assign_partition(partition, active=True)
        return self._client_assignments


def _count(client: CopartitionedAssignment) -> int:
    return len(client.actives)


def use_even_assignment() -> None:
    """Have Faust deal out partitions so; may be called again."""
    module: Any = partition_assignor
    module.CopartitionedAssignor = EvenAssignor
