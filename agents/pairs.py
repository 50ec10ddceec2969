"""The pairs agent: bars of pairs, re-keyed by the routing agent, to correlation and spread.

What comes in: batches of `DEPLOYMENT.pairs.input`. Where it is kept: a `PairsBook`
(`tables/crossing`). What goes out: `pairs`, and `pairs.dead`, with each checkpoint.
"""

from __future__ import annotations

from agents.derived import MAX_ENTRIES, DerivedStage, derived_configuration
from agents.registering import add_agent
from app.durations import format_duration
from app.settings import PREFIX, Settings, SettingsError
from tables.crossing import Pair, PairsConfiguration
from tables.crossing.partition import PAIR_PREFIX, PairsPartition, row_bytes

AGENT = "pairs"
#: Of a row's record beside the row itself: key, headers, the batch.
ROW_HEADROOM = 1024


def pairs_configuration(settings: Settings) -> PairsConfiguration:
    """The settings that pairs depend on, as plain values.

    Raises:
        SettingsError: there is no pair, one is none, or has bars of no interval that there is; or a
            pair's state would not fit a record.
    """
    chosen = settings.pairs
    name = f"{PREFIX}PAIRS__PAIRS={','.join(chosen.pairs)!r}"
    if not chosen.pairs:
        raise SettingsError(
            f"{name}: the agents routing and pairs have nothing to do; expected pairs such as "
            f"SPY/IBM@1m, or {PREFIX}AGENTS without these two"
        )
    labels = [format_duration(length) for length in settings.bars.intervals]
    try:
        configuration = PairsConfiguration(
            pairs=tuple(Pair.parse(text) for text in chosen.pairs),
            partitions=settings.topics.partitions,
            source_partitions=settings.topics.partitions,
            window=chosen.window,
            hedge=chosen.hedge,
            max_waiting=chosen.max_waiting,
        )
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error
    for pair in configuration.pairs:
        if pair.label not in labels:
            raise SettingsError(
                f"{name}: there are no bars of {pair.label!r} for {pair.name}; "
                f"expected {', '.join(labels)} (bars.intervals)"
            )
    size, limit = row_bytes(configuration), settings.topics.max_message_bytes - ROW_HEADROOM
    if size > limit:
        raise SettingsError(
            f"{PREFIX}PAIRS__MAX_WAITING={chosen.max_waiting} with {PREFIX}PAIRS__WINDOW="
            f"{chosen.window}: the state of a pair may take {size} bytes; expected at most {limit} "
            f"(topics.max_message_bytes is {settings.topics.max_message_bytes})"
        )
    return configuration


def make_stage(settings: Settings, max_entries: int = MAX_ENTRIES) -> DerivedStage:
    """The pairs agent's part of a deployment.

    Raises:
        SettingsError: as `pairs_configuration`.
    """
    configuration = derived_configuration(settings, AGENT, max_entries)
    pairs = pairs_configuration(settings)
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: PairsPartition(
            configuration, partition, pairs, settings.bars.max_ahead
        ),
        loaded_prefixes=(PAIR_PREFIX,),
    )


register = add_agent
