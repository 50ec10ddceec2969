"""Alerts on models and on the delivery of notifications."""

from __future__ import annotations

from app.observe import rules_thresholds as bounds
from app.observe.rules_model import Alert, Example, Group, percent, promql, share

_JOB = {"job": "candlewick"}
_FAULTY = 'candlewick_model_fault{model="direction",alias="champion"}'
_FAULT = Alert(
    "CandlewickModelFault",
    "max by (job, model, alias) (candlewick_model_fault) > 0",
    hold=bounds.MODEL_FAULT_HOLD,
    severity="warning",
    summary="{{ $labels.model }}: what {{ $labels.alias }} names cannot be followed",
    description=(
        "{{ $labels.alias }} of {{ $labels.model }}: fault is {{ $value | humanize }}; the version "
        "before goes on."
    ),
    runbook="the log of the worker with the agent predictions; `candlewick models list`",
    fires=Example(
        "its file is damaged",
        {_FAULTY: "1+0x40"},
        "6m",
        {**_JOB, "model": "direction", "alias": "champion"},
        "1",
    ),
    quiet=Example("put right after four minutes", {_FAULTY: "1+0x16 0+0x40"}, "6m"),
)

_REFUSED = Alert(
    "CandlewickModelsRefused",
    "max by (job, instance) (candlewick_models_refused) > 0",
    hold=bounds.MODELS_REFUSED_HOLD,
    severity="critical",
    summary="{{ $labels.instance }} cannot load versions that the log names",
    description="{{ $value | humanize }} versions are refused and predict nothing.",
    runbook="the log; `candlewick models list`: the version is gone from the registry or changed",
    fires=Example(
        "two versions are gone",
        {"candlewick_models_refused": "2+0x40"},
        "6m",
        {**_JOB, "instance": "one"},
        "2",
    ),
    quiet=Example("none", {"candlewick_models_refused": "0+0x40"}, "6m"),
)

_READ = 'candlewick_records_total{agent="predictions"}'
_NONE = 'candlewick_ignored_records_total{agent="predictions",reason="no_model"}'


def _predicted(applied: str, missing: str) -> dict[str, str]:
    return {
        'candlewick_records_total{agent="predictions",outcome="applied"}': applied,
        'candlewick_records_total{agent="predictions",outcome="ignored"}': missing,
        _NONE: missing,
    }


_MISSING = Alert(
    "CandlewickPredictionsMissing",
    share(_NONE, _READ, "job", "2m") + f"\n> {bounds.PREDICTIONS_MISSING_RATIO.above}",
    hold=bounds.PREDICTIONS_MISSING_RATIO.hold,
    severity="warning",
    summary=(
        f"More than {percent(bounds.PREDICTIONS_MISSING_RATIO.above)} of the bars have no model "
        "that predicts them"
    ),
    description="{{ $value | humanizePercentage }} of the bars find no model.",
    runbook="candlewick_model_version 0: `candlewick models list`, set an alias",
    fires=Example("one bar of five", _predicted("0+80x20", "0+20x20"), "5m", _JOB, "20%"),
    quiet=Example("one of twenty", _predicted("0+95x20", "0+5x20"), "5m"),
)

_RESTING = 'candlewick_channel_rest_seconds{channel="desk"}'
_REST = Alert(
    "CandlewickChannelRests",
    promql(f"""
        max by (job, channel) (
          max_over_time(candlewick_channel_rest_seconds[{bounds.CHANNEL_REST_WINDOW}])
        )
        > 0
    """),
    hold=bounds.CHANNEL_REST_HOLD,
    severity="warning",
    summary="The channel {{ $labels.channel }} takes no notifications",
    description="{{ $labels.channel }} rests for {{ $value | humanizeDuration }} between attempts.",
    runbook="candlewick_delivery_attempts_total by result, the log; `candlewick alerts test`",
    fires=Example(
        "it rests, is tried, and rests again",
        {_RESTING: " ".join(["30", "0"] * 20)},
        "8m",
        {**_JOB, "channel": "desk"},
        "30s",
    ),
    quiet=Example("one refusal", {_RESTING: "0+0x10 30 15 0+0x40"}, "8m"),
)

_UNTAKEN = 'candlewick_notifications_total{result="dead"}'
_DEAD = 'candlewick_notifications_total{channel="desk",result="dead"}'
_UNDELIVERED = Alert(
    "CandlewickNotificationsDead",
    promql(f"""
        sum by (job, channel) (
          increase({_UNTAKEN}[{bounds.NOTIFICATIONS_DEAD_WINDOW}])
        )
        > 0
    """),
    severity="warning",
    summary="The channel {{ $labels.channel }} will never take some notifications",
    description="{{ $value | humanize }} notifications of {{ $labels.channel }} are dead.",
    runbook="the topic DEPLOYMENT.notifications.dead: each has its reason",
    fires=Example("two", {_DEAD: "0+0x10 2+0x60"}, "10m", {**_JOB, "channel": "desk"}, "2"),
    quiet=Example("two, an hour ago", {_DEAD: "2+0x60"}, "10m"),
)

MODELS = Group("models", alerts=(_FAULT, _REFUSED, _MISSING))
DELIVERY = Group("delivery", alerts=(_REST, _UNDELIVERED))
