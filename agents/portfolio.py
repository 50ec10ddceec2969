"""The portfolio agent: transactions and prices to positions, values and broken limits.

What comes in: batches of `DEPLOYMENT.portfolio.input`, by account: from the transactions agent, and
prices in every partition from the routing agent. Where it is kept: accounts, prices, ids and what
waits (`tables/portfolio`, which states the rules). What goes out: `portfolio.positions`,
`portfolio.values`, `portfolio.limits`, `portfolio.late` and `portfolio.dead`, with each checkpoint.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents.derived import MAX_ENTRIES, DerivedStage, derived_configuration
from agents.registering import add_agent
from app.durations import format_duration
from app.settings import PREFIX, Settings, SettingsError
from tables.portfolio.configuration import BARS, TRANSACTIONS, PortfolioConfiguration
from tables.portfolio.stage import ROW_PREFIX, AccountsPartition, row_bytes

AGENT = "portfolio"
#: Of a row's record beside the row itself: key, headers, the batch.
ROW_HEADROOM = 1024
_MINUTE = 60_000_000_000


def _named(name: str, value: object) -> str:
    return f"{PREFIX}PORTFOLIO__{name.upper()}={value!r}"


def portfolio_configuration(settings: Settings) -> PortfolioConfiguration:
    """The settings that the portfolio depends on, as plain values.

    Raises:
        SettingsError: it is not enabled, there are no bars of the pricing interval, a limit or time
            zone that there is not, durations that do not fit each other, or rows that would not fit
            a record.
    """
    chosen, intervals = settings.portfolio, settings.bars.intervals
    if not chosen.enabled:
        raise SettingsError(
            f"{_named('enabled', False)}: the agents transactions and portfolio have nothing to "
            f"price by; expected True, or {PREFIX}AGENTS without these two"
        )
    pricing = format_duration(chosen.pricing_interval)
    if chosen.pricing_interval not in intervals:
        labels = ", ".join(map(format_duration, intervals))
        raise SettingsError(
            f"{_named('pricing_interval', pricing)}: there are no bars of it; expected one of "
            f"{labels} (bars.intervals)"
        )
    _check_durations(settings)
    hours, minutes = chosen.session_end.split(":")
    partitions = settings.topics.partitions
    try:
        configuration = PortfolioConfiguration(
            inputs={BARS: partitions, TRANSACTIONS: partitions},
            partitions=partitions,
            pricing_interval=chosen.pricing_interval,
            pricing_label=pricing,
            cost_basis=chosen.cost_basis,
            currency=chosen.currency,
            limits=dict(chosen.limits),
            timezone=chosen.session_timezone,
            session_end=(int(hours) * 60 + int(minutes)) * _MINUTE,
            own_inputs=frozenset({TRANSACTIONS}),
            patience=chosen.patience,
            late_horizon=chosen.late_horizon,
            identifier_horizon=chosen.identifier_horizon,
            max_ahead=settings.bars.max_ahead,
            earliest_event_time=settings.bars.earliest_event_time,
            max_held=chosen.max_held,
            max_identifiers=chosen.max_identifiers,
            max_accounts=chosen.max_accounts,
            max_symbols=chosen.max_symbols,
            max_positions=chosen.max_positions,
            max_lots=chosen.max_lots,
        )
    except ValueError as error:
        raise SettingsError(f"{_named('limits', dict(chosen.limits))}: {error}") from error
    size, limit = row_bytes(configuration), settings.topics.max_message_bytes - ROW_HEADROOM
    if size > limit:
        raise SettingsError(
            f"{_named('max_lots', chosen.max_lots)} with "
            f"{_named('max_positions', chosen.max_positions)}: a row of state may take {size} "
            f"bytes; expected at most {limit} (topics.max_message_bytes is "
            f"{settings.topics.max_message_bytes})"
        )
    return configuration


def _check_durations(settings: Settings) -> None:
    chosen = settings.portfolio
    pricing = chosen.pricing_interval
    # A bar comes so long after the one before it, in a steady market.
    least = pricing + settings.bars.grace + settings.bars.clock_ahead
    if not chosen.mark_interval or pricing % chosen.mark_interval:
        raise SettingsError(
            f"{_named('mark_interval', format_duration(chosen.mark_interval))}: expected a whole "
            f"part of portfolio.pricing_interval, which is {format_duration(pricing)}"
        )
    if chosen.patience < least:
        raise SettingsError(
            f"{_named('patience', format_duration(chosen.patience))}: bars may be silent for as "
            f"long between two closes; expected at least {format_duration(least)}, which is "
            "portfolio.pricing_interval with bars.grace and bars.clock_ahead"
        )
    if chosen.identifier_horizon < chosen.late_horizon:
        raise SettingsError(
            f"{_named('identifier_horizon', format_duration(chosen.identifier_horizon))}: a late "
            "repetition would count twice; expected at least portfolio.late_horizon, which is "
            f"{format_duration(chosen.late_horizon)}"
        )
    try:
        ZoneInfo(chosen.session_timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"{_named('session_timezone', chosen.session_timezone)}: no such time zone; expected "
            "a name such as America/New_York"
        ) from error


def make_stage(settings: Settings, max_entries: int = MAX_ENTRIES) -> DerivedStage:
    """The portfolio agent's part of a deployment.

    Raises:
        SettingsError: as `portfolio_configuration`.
    """
    configuration = derived_configuration(settings, AGENT, max_entries)
    portfolio = portfolio_configuration(settings)
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: AccountsPartition(
            configuration, partition, portfolio, raises=AGENT in settings.raising.agents
        ),
        loaded_prefixes=(ROW_PREFIX,),
    )


register = add_agent
