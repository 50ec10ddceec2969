"""Service level objectives, their error budgets, and alerts on how fast these burn.

Google's SRE Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts": with a budget for 30 days,
a burn rate of 14.4 spends 2 % of it in an hour, 6 spends 5 % in six hours, 3 spends 10 % in a day
and 1 spends 10 % in three days. Each has to hold over a window a twelfth as long too, so that an
alert ends soon after its cause.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.observe.rules_model import Alert, Example, Group, Missing, Recording, Severity, promql

_BY = "job, agent"
_DAYS = 30


@dataclass(frozen=True, slots=True)
class Burn:
    """The share of bad records is a multiple of what the budget allows, over both windows."""

    rate: float
    long: str
    short: str


FAST = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
SLOW = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of records that has to be good, over 30 days.

    Args:
        name: in the recorded names.
        title: in the alerts' names.
        promise: in words, behind "more than the budget is".
        target: share of good records.
        bad: PromQL of the share of bad ones by job and agent; WINDOW stands for the window.
        runbook: what to look at.
    """

    name: str
    title: str
    promise: str
    target: float
    bad: str
    runbook: str

    @property
    def budget(self) -> float:
        """The share of records that may be bad."""
        return round(1 - self.target, 9)

    def recorded(self, window: str) -> str:
        """Return the name of the recorded share of bad records."""
        return f"job_agent:candlewick_{self.name}_bad:ratio_rate{window}"


_WAY = 'candlewick_end_to_end_latency_seconds_bucket{effect="output",le="%s"}'
FRESHNESS = Objective(
    "freshness",
    "Freshness",
    "99 % of the records are in a committed output within 1 s of their append",
    0.99,
    promql(f"""
        1 -
        sum by ({_BY}) (rate({_WAY % "1.0"}[WINDOW]))
        /
        sum by ({_BY}) (rate({_WAY % "+Inf"}[WINDOW]))
    """),
    "as for CandlewickLatencyHigh; candlewick_lag_records, candlewick_rebalances_total",
)
VALIDITY = Objective(
    "validity",
    "Validity",
    "99.9 % of the records that are read are not dead",
    0.999,
    promql(f"""
        (
            sum by ({_BY}) (rate(candlewick_records_total{{outcome="dead"}}[WINDOW]))
          or
            0 * sum by ({_BY}) (rate(candlewick_records_total[WINDOW]))
        )
        /
        sum by ({_BY}) (rate(candlewick_records_total[WINDOW]))
    """),
    "candlewick_dead_records_total by reason, then `candlewick dead list`",
)
OBJECTIVES = (FRESHNESS, VALIDITY)


def _recordings(objective: Objective) -> tuple[Recording, ...]:
    windows = [window for burn in (*FAST, *SLOW) for window in (burn.short, burn.long)]
    return tuple(
        Recording(objective.recorded(window), objective.bad.replace("WINDOW", window))
        for window in dict.fromkeys(windows)
    )


def _left(objective: Objective) -> Recording:
    """The share of the budget that is left: 1 at best, below 0 when the promise is broken."""
    bad = objective.bad.replace("WINDOW", f"{_DAYS}d")
    return Recording(
        f"job_agent:candlewick_{objective.name}_budget_left:ratio{_DAYS}d",
        f"1 - (\n{bad}\n) / {objective.budget}",
    )


def _burning(
    objective: Objective,
    burns: tuple[Burn, ...],
    speed: str,
    severity: Severity,
    hold: str,
    examples: tuple[Example, ...],
) -> Alert:
    expression = "\nor\n".join(
        f"({objective.recorded(burn.long)} > {burn.rate * objective.budget:.6g}"
        f" and {objective.recorded(burn.short)} > {burn.rate * objective.budget:.6g})"
        for burn in burns
    )
    spent = "2 % of 30 days' budget an hour" if burns is FAST else "10 % of it in three days"
    return Alert(
        f"Candlewick{objective.title}BudgetBurns{speed}",
        expression,
        hold=hold,
        severity=severity,
        summary=(
            f"{{{{ $labels.agent }}}} burns the error budget of {objective.name} {speed.lower()}"
        ),
        description=(
            f"Promised: {objective.promise}. {{{{ $value | humanizePercentage }}}} are not; "
            f"at the bound that is {spent}."
        ),
        runbook=objective.runbook,
        fires=examples[0],
        quiet=examples[1],
        more=examples[2:],
    )


_LABELS = {"job": "candlewick", "agent": "bars"}


_FRESH = 'candlewick_end_to_end_latency_seconds_bucket{agent="bars",effect="output",le="%s"}'
#: Six hours without a fault, then one record of six: too little for the window of six hours.
_SUDDEN = Example(
    "160 of 1,000 records take longer, after six hours in which none did",
    {_FRESH % "1.0": "0+1000x360 360840+840x69", _FRESH % "+Inf": "0+1000x430"},
    "430m",
    _LABELS,
    "16%",
    every="1m",
)


def _fresh(good: int, value: str = "") -> Example:
    """So many of 1,000 records a minute come within a second, for 70 minutes."""
    return Example(
        f"{1000 - good} of 1,000 records take longer",
        {_FRESH % "1.0": f"0+{good}x70", _FRESH % "+Inf": "0+1000x70"},
        "70m",
        _LABELS if value else None,
        value,
        every="1m",
    )


def _valid(dead: int, value: str = "") -> Example:
    name = 'candlewick_records_total{agent="bars",outcome="%s"}'
    return Example(
        f"{dead} of 10,000 records are dead",
        {name % "applied": f"0+{10_000 - dead}x70", name % "dead": f"0+{dead}x70"},
        "70m",
        _LABELS if value else None,
        value,
        every="1m",
    )


def _alerts() -> tuple[Alert, ...]:
    quick = (_fresh(900, "10%"), _fresh(960), _SUDDEN)
    return (
        _burning(FRESHNESS, FAST, "Fast", "critical", "2m", quick),
        _burning(FRESHNESS, SLOW, "Slowly", "warning", "15m", (_fresh(980, "2%"), _fresh(995))),
        _burning(VALIDITY, FAST, "Fast", "critical", "2m", (_valid(160, "1.6%"), _valid(40))),
        _burning(VALIDITY, SLOW, "Slowly", "warning", "15m", (_valid(20, "0.2%"), _valid(5))),
    )


SLO = Group(
    "slo",
    recordings=tuple(each for objective in OBJECTIVES for each in _recordings(objective)),
    alerts=_alerts(),
)
#: Apart, because 30 days are read for it: not four times a minute.
BUDGETS = Group("budgets", recordings=tuple(map(_left, OBJECTIVES)), interval="5m")

NO_ALERT = (
    Missing(
        "no bars in session",
        "no metric says whether a market is open (PromQL knows no time zones, half days or "
        "holidays): `CandlewickTradesWithoutBars` needs no session, `CandlewickNoBars` has the "
        'label `session="required"` for a route with `active_time_intervals`; the silence of a '
        "symbol within its session is told by the quality agent, through the agent `alerts`",
    ),
    Missing(
        "drift above 0.5 %",
        "`candlewick reconcile` is a command with an exit code; nothing exports its drift yet",
    ),
    Missing(
        "WebSocket drops above 10 a second", "no metric counts connections that were dropped yet"
    ),
)
