"""The routing agent: closed bars to the inputs of stages that have other keys than symbols.

What comes in: batches of `DEPLOYMENT.bars`. Where it is kept: the progress of each router
(`tables/crossing`). What goes out: `legs`, to the pairs' partitions, where there are pairs; prices
and marks of progress, to every partition of `portfolio.input`, where `portfolio.enabled` is set;
and `routing.dead`, with each checkpoint. Another stage that wants bars adds a router here and its
output in `AGENT_TOPICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.derived import MAX_ENTRIES, DerivedStage, derived_configuration
from agents.pairs import pairs_configuration
from agents.portfolio import portfolio_configuration
from agents.registering import add_agent
from app.durations import format_duration
from app.settings import Settings
from tables.crossing import Router
from tables.crossing.partition import ROUTER_PREFIX, BarRouter, RoutingPartition
from tables.portfolio.routing import PriceRouter

AGENT = "routing"
#: Builds the router of a partition.
MakeRouter = Callable[[int], BarRouter]


def routers_of(settings: Settings) -> Mapping[str, MakeRouter]:
    """The routers that there are, by the output that they write to.

    Raises:
        SettingsError: as `pairs_configuration`, and as `portfolio_configuration` where it is
            enabled.
    """
    routers: dict[str, MakeRouter] = {}
    if settings.pairs.pairs or not settings.portfolio.enabled:
        pairs = pairs_configuration(settings)
        routers["legs"] = lambda partition: Router(pairs, partition)
    if settings.portfolio.enabled:
        portfolio = portfolio_configuration(settings)
        routers["portfolio"] = lambda partition: PriceRouter(
            partition,
            portfolio.partitions,
            portfolio.pricing_label,
            lengths_of(settings),
            settings.portfolio.mark_interval,
        )
    return routers


def lengths_of(settings: Settings) -> dict[str, int]:
    """In ns, of all intervals that bars come in, by label."""
    return {format_duration(length): length for length in settings.bars.intervals}


def make_stage(settings: Settings, max_entries: int = MAX_ENTRIES) -> DerivedStage:
    """The routing agent's part of a deployment.

    Raises:
        SettingsError: as `routers_of`.
    """
    configuration = derived_configuration(settings, AGENT, max_entries)
    routers = routers_of(settings)
    lengths = lengths_of(settings)
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
