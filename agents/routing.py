"""The routing agent: closed bars to the inputs of stages that have other keys than symbols.

What comes in: batches of `DEPLOYMENT.bars`. Where it is kept: the progress of each router
(`tables/crossing`). What goes out: `legs`, to the pairs' partitions, and `routing.dead`, with each
checkpoint. Another stage that wants bars adds a router here and its output in `AGENT_TOPICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.derived import MAX_ENTRIES, DerivedStage, derived_configuration
from agents.pairs import pairs_configuration
from agents.registering import add_agent
from app.durations import format_duration
from app.settings import Settings
from tables.crossing import Router
from tables.crossing.partition import ROUTER_PREFIX, BarRouter, RoutingPartition

AGENT = "routing"
#: Builds the router of a partition.
MakeRouter = Callable[[int], BarRouter]


def routers_of(settings: Settings) -> Mapping[str, MakeRouter]:
    """The routers that there are, by the output that they write to.

    Raises:
        SettingsError: as `pairs_configuration`.
    """
    pairs = pairs_configuration(settings)
    return {"legs": lambda partition: Router(pairs, partition)}


def make_stage(settings: Settings, max_entries: int = MAX_ENTRIES) -> DerivedStage:
    """The routing agent's part of a deployment.

    Raises:
        SettingsError: as `routers_of`.
    """
    configuration = derived_configuration(settings, AGENT, max_entries)
    routers = routers_of(settings)
    lengths = {format_duration(length): length for length in settings.bars.intervals}
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: RoutingPartition(
            configuration,
            partition,
            {output: make(partition) for output, make in routers.items()},
            lengths,
            settings.bars.max_ahead,
        ),
        loaded_prefixes=(ROUTER_PREFIX,),
    )


register = add_agent
