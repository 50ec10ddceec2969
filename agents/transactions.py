"""The transactions agent: transactions and portfolio updates on their way to the portfolio.

What comes in: batches of `transactions`, keyed by account. Where it is kept: how far the partition
is, in one row (`tables/portfolio/arriving.py`, which says what becomes of quiet partitions). What
goes out: the records and marks of progress, to `DEPLOYMENT.portfolio.input`, and
`transactions.dead`, with each checkpoint.
"""

from __future__ import annotations

from dataclasses import replace

from agents.derived import DerivedStage, derived_configuration
from agents.portfolio import portfolio_configuration
from agents.registering import add_agent
from app.settings import Settings
from tables.portfolio.arriving import STATE_PREFIX, ArrivalTimes, TransactionsPartition

AGENT = "transactions"


def make_stage(settings: Settings) -> DerivedStage:
    """The transactions agent's part of a deployment.

    Raises:
        SettingsError: as `portfolio_configuration`.
    """
    portfolio_configuration(settings)
    # Its source is an input: its values are bounded as those of bars are.
    configuration = replace(
        derived_configuration(settings, AGENT),
        max_value_bytes=settings.topics.max_message_bytes // 2,
    )
    times = ArrivalTimes(
        earliest=settings.bars.earliest_event_time,
        max_ahead=settings.bars.max_ahead,
        clock_ahead=settings.bars.clock_ahead,
        grace=settings.portfolio.grace,
        mark_interval=settings.portfolio.mark_interval,
    )
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: TransactionsPartition(configuration, partition, times),
        loaded_prefixes=(STATE_PREFIX,),
    )


register = add_agent
