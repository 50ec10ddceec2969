"""What each reason of a dead letter means, in words, and what mends it.

The reasons and their order are those of app/README.md, *Semantics*, step 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Reason:
    """Why a record was refused.

    Attributes:
        means: the rule that it broke, one sentence without its full stop.
        mend: what to do about it, the same.
        as_it_is: sending the same bytes again can help.
    """

    means: str
    mend: str
    as_it_is: bool = False


REASONS: Final[dict[str, Reason]] = {
    "null": Reason(
        "the record has no value at all", "nothing to mend; find the producer that sends nulls"
    ),
    "empty": Reason(
        "the record's value has no bytes", "nothing to mend; find the producer that sends them"
    ),
    "too_large": Reason(
        "the value is longer than half of topics.max_message_bytes",
        "resend it shortened; a larger topics.max_message_bytes needs another deployment",
    ),
    "malformed": Reason(
        "the value is not one JSON object or MessagePack map of the contract: broken, an array, "
        "or with a field that is missing, unknown, of the wrong type or out of its bounds",
        "compare it with `candlewick topics --schema`, resend it edited",
    ),
    "unknown_condition": Reason(
        "one of its conditions is not in the vocabulary",
        "compare it with `candlewick topics --schema`, resend it edited",
    ),
    "bad_symbol": Reason(
        "the symbol has a character outside the alphabet (letters, digits and a few marks)",
        "resend it with the right symbol",
    ),
    "event_time_too_early": Reason(
        "the event time is before bars.earliest_event_time",
        "event_time is in nanoseconds since 1970: milliseconds or seconds look like this; "
        "resend it edited",
    ),
    "event_time_too_late": Reason(
        "the event time is more than bars.max_ahead after the time the broker took the record",
        "a producer's clock is ahead or its unit is wrong: resend it as it is once that time has "
        "come, else edited",
        as_it_is=True,
    ),
    "notional_too_large": Reason(
        "price times size is above 1e14 either way", "resend it with the right price and size"
    ),
    "wrong_partition": Reason(
        "the symbol (or pair, account, or key of an alert) belongs to another partition by murmur2 "
        "of its name",
        "resend it as it is: it goes to the partition of its name; make the producer use Kafka's "
        "default partitioner with that name as the key",
        as_it_is=True,
    ),
    "too_many_symbols": Reason(
        "the partition has bars.max_symbols (or portfolio.max_symbols) symbols already, and this "
        "is another one",
        "a larger bars.max_symbols or more partitions need another deployment, which reads the "
        "record again by itself",
    ),
    "too_many_sources": Reason(
        "the partition has 60 distinct values of `source` already, and this is another one",
        "resend it with one of the known sources, or without",
    ),
    "policy_without_corrections": Reason(
        "bars.policy is algoseek, or bars.fill_forward is on: such bars depend on each other, so a "
        "cancel or correction of one trade is not applied",
        "nothing to mend here; run the policy all or sip beside it",
    ),
    "unknown_trade": Reason(
        "the correction names no trade of this partition: none has its id (or its time, sequence "
        "and venue) and its original price and size, it is cancelled already, or it is older than "
        "bars.recall_horizon",
        "compare it with the trade as it was sent, resend it edited",
    ),
    "missing_indicators": Reason(
        "the indicators lack one that the feature sets read, or the close",
        "nothing to mend; find who else writes to this topic",
    ),
    "unknown_pair": Reason(
        "no pair of that name is configured (pairs.pairs)",
        "nothing to mend; find who else writes to this topic",
    ),
    "not_of_pair": Reason(
        "no pair of this partition has such a leg: another symbol, interval or partition of the "
        "bars",
        "nothing to mend; find who else writes to this topic",
    ),
    "unknown_interval": Reason(
        "no bars of that interval are computed here (bars.intervals)",
        "nothing to mend; find who else writes to this topic",
    ),
    "other_currency": Reason(
        "the record's currency is another than portfolio.currency; nothing is converted",
        "resend it in the deployment's currency; another currency needs another deployment",
    ),
    "unknown_input": Reason(
        "the record, or mark of progress, says that it came from an input partition that there is "
        "not",
        "nothing to mend; find who else writes to this topic",
    ),
    "beyond_horizon": Reason(
        "the record is more than portfolio.late_horizon behind what its input had told",
        "resend it to the input topic with a present event time; it counts from then on",
    ),
    "too_many_held": Reason(
        "portfolio.max_held records of the partition wait already, and no input is waited for "
        "whose silence could be the cause",
        "resend it as it is, later; a larger portfolio.max_held needs another deployment",
        as_it_is=True,
    ),
    "too_many_accounts": Reason(
        "the partition has portfolio.max_accounts accounts already, and this is another one",
        "a larger portfolio.max_accounts or more partitions need another deployment",
    ),
    "too_many_positions": Reason(
        "the account has portfolio.max_positions open positions already, and this is another one",
        "close one, then resend it under a new id",
    ),
    "quantity_too_large": Reason(
        "the position would exceed 1e18", "resend it with the right quantity and a new id"
    ),
    "unknown_transaction": Reason(
        "the cancel names no transaction that was taken before it and still counts: of its account "
        "none has this id, it is cancelled already, or older than portfolio.identifier_horizon",
        "compare it with the transaction as it was sent, resend it edited with a new update_id",
    ),
    "too_many_silences": Reason(
        "there are alerts.max_silences silences already, and this is another one",
        "end one with `candlewick alerts unsilence`, then resend it as it is",
        as_it_is=True,
    ),
    "log_gone": Reason(
        "the part of the log that holds the corrected bar's trades is deleted already",
        "a longer topics.retention, or a shorter bars.recall_horizon, for the next ones",
    ),
}


def explain(reason: str) -> Reason:
    """Return what a reason means; one of a newer version is not known here."""
    unknown = Reason("this version knows no such reason", "see app/README.md of the newer version")
    return REASONS.get(reason, unknown)
