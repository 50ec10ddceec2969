"""A simulated group coordinator: members, heartbeats, generations, eager rebalances.

As Kafka's classic protocol: a rebalance begins when a member comes, goes or is not heard of for the
session time-out; it ends when every member that is left has asked to join again. Who was thrown
out learns of it from the answer to its next heartbeat, and until then goes on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from faust.types import TP

from tests.simulation.world import World

#: Seconds between two looks at the members.
LOOK_SECONDS = 0.25


@dataclass(slots=True, eq=False)
class Member:
    """One run of a worker's consumer; `joining` is there while it waits for a rebalance's end."""

    name: str
    seen: float
    joining: asyncio.Future[tuple[int, set[TP]]] | None = None


class Group:
    """The coordinator of the one group."""

    def __init__(
        self, world: World, partitions: list[TP], session: float, *, sticky: bool, together: bool
    ) -> None:
        self._world = world
        self._partitions = partitions
        self._session = session
        self._sticky = sticky
        #: A partition number of all topics goes to the same member.
        self._together = together
        self.members: list[Member] = []
        self.generation = 0
        #: Who had what last; by the machine's name.
        self.owners: dict[TP, str] = {}
        self._rebalancing = False
        world.later(LOOK_SECONDS, self._look)

    # --- requests of members ---------------------------------------------------------------

    async def join(self, member: Member) -> tuple[int, set[TP]]:
        """Take part in the next generation; its number, and the partitions that come with it.

        Raises:
            aiokafka.errors.KafkaError: the coordinator does not answer.
        """
        world = self._world

        def ask() -> asyncio.Future[tuple[int, set[TP]]]:
            member.seen = world.now
            joined = member.joining = asyncio.get_running_loop().create_future()
            if member not in self.members:
                self.members.append(member)
            self._rebalancing = True
            self._complete()
            return joined

        return await (await world.request("the group", ask))

    async def heartbeat(self, member: Member, generation: int) -> bool:
        """Whether all is as before; False where it must join again.

        Raises:
            aiokafka.errors.KafkaError: the coordinator does not answer.
        """

        def answer() -> bool:
            if member not in self.members or generation != self.generation:
                return False
            member.seen = self._world.now
            return not self._rebalancing

        return await self._world.request("a heartbeat", answer)

    async def leave(self, member: Member) -> None:
        """Go in order."""
        await self._world.request("to leave", lambda: self._remove(member))

    def disturb(self) -> None:
        """A rebalance without a reason that matters, as when a topic changes."""
        self._rebalancing = True

    # --- inside ----------------------------------------------------------------------------

    def _remove(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
            self._rebalancing = True
            self._complete()

    def _look(self) -> None:
        world = self._world
        for member in list(self.members):
            if member.joining is None and world.now - member.seen > self._session:
                world.tell(f"the group has not heard of {member.name}")
                world.counts["thrown out of the group"] += 1
                self._remove(member)
        if not world.over:
            world.later(LOOK_SECONDS, self._look)

    def _complete(self) -> None:
        if not self._rebalancing or any(member.joining is None for member in self.members):
            return
        self._rebalancing = False
        if not self.members:
            return
        world = self._world
        self.generation += 1
        world.counts["rebalance"] += 1
        assigned = self._assign([member.name for member in self.members])
        told: dict[str, list[str]] = {member.name: [] for member in self.members}
        for tp, name in sorted(assigned.items()):
            told[name].append(f"{tp.topic} {tp.partition}")
        world.tell(f"generation {self.generation}: {told}")
        for member in self.members:
            waiting, member.joining, member.seen = member.joining, None, world.now
            mine = {tp for tp, name in assigned.items() if name == member.name}
            if waiting is not None and not waiting.done():
                waiting.set_result((self.generation, mine))

    def _assign(self, names: list[str]) -> dict[TP, str]:
        """Each partition's member; as even as it goes."""
        dice = self._world.dice
        units: dict[object, list[TP]] = {}
        for tp in self._partitions:
            units.setdefault(tp.partition if self._together else tp, []).append(tp)
        most = -(-len(units) // len(names))
        counts = dict.fromkeys(sorted(names), 0)
        chosen: dict[TP, str] = {}
        left = []
        for unit in units.values():
            before = self.owners.get(unit[0])
            if self._sticky and before in counts and counts[before] < most:
                counts[before] += 1
                chosen.update(dict.fromkeys(unit, before))
            else:
                left.append(unit)
        for unit in left:
            least = min(counts.values())
            name = dice.choice([name for name, count in counts.items() if count == least])
            counts[name] += 1
            chosen.update(dict.fromkeys(unit, name))
        self.owners = chosen
        return chosen
