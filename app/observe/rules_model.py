"""What a rule is: a recorded name, an alert with the histories that prove it, and their groups.

Declared in Python, so that a bound is written once and an alert cannot be without its tests; the
YAML under `deploy/prometheus` is made from it by `python -m app.observe.rules --write`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Literal

from app.durations import NANOSECONDS, parse_duration

#: Targets of ours: the jobs of `deploy/prometheus`. One job for each deployment, so that no
#: expression adds up two of them.
JOBS = 'job=~"candlewick.*"'
Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule.

    Args:
        name: of the metric that it makes.
        expression: PromQL.
        labels: added to each series.
    """

    name: str
    expression: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """A history, and what the alert makes of it.

    Args:
        says: what happens, in words.
        series: selector to values in promtool's notation; the labels `job` and `instance` are
            added where the selector names none.
        at: when the alert is looked at, since the begin of the history. One that fires is
            looked at one step before `hold` has passed, too: it must not fire so early.
        labels: of the alert that fires, without severity; None: it does not fire.
        value: what the description says for the value, worked out by hand.
        every: time between two values.
    """

    says: str
    series: Mapping[str, str]
    at: str
    labels: Mapping[str, str] | None = None
    value: str = ""
    every: str = "15s"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert rule with a history that fires it and one that does not.

    Args:
        name: in CamelCase, begins with `Candlewick`.
        expression: PromQL; its value is what the description tells.
        hold: how long it has to hold (`for`).
        severity: `critical`: somebody is called; `warning`: somebody looks today; `info`: by
            a route of its own.
        summary: one line, may name labels.
        description: has the value: `{{ $value | humanize }}`.
        runbook: what to look at first: page, metric or command.
        fires: the history with the labels and value that are expected.
        quiet: a near history that must not fire.
        labels: beside the severity.
        more: further histories, of either kind.

    Raises:
        ValueError: an example is the wrong way round, or the description has no value.
    """

    name: str
    expression: str
    severity: Severity
    summary: str
    description: str
    runbook: str
    fires: Example
    quiet: Example
    hold: str = "0s"
    labels: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Example, ...] = ()

    @property
    def examples(self) -> tuple[Example, ...]:
        """All histories."""
        return (self.fires, self.quiet, *self.more)

    def __post_init__(self) -> None:
        if self.fires.labels is None or not self.fires.value or self.quiet.labels is not None:
            raise ValueError(f"{self.name}: one example fires, with its value, and one does not")
        if "$value" not in self.description:
            raise ValueError(f"{self.name}: the description does not tell the value")


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other; each group is a file of its own.

    Args:
        name: of the group, its file and the file of its tests.
        interval: None: the server's.
    """

    name: str
    recordings: tuple[Recording, ...] = ()
    alerts: tuple[Alert, ...] = ()
    interval: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A name or alert of the requirements that there is no rule for, and why."""

    what: str
    why: str


def percent(ratio: float) -> str:
    """Return a bound as a text has it: 0.05 is `5 %`."""
    return f"{100 * ratio:g} %"


def minutes(duration: str) -> str:
    """Return a duration of whole minutes as a text has it: `5m` is `5 minutes`."""
    return f"{parse_duration(duration) // NANOSECONDS['m']} minutes"


def promql(text: str) -> str:
    """Return an expression of several lines without its indentation."""
    return dedent(text).strip()


def share(part: str, whole: str, by: str, window: str) -> str:
    """Return the ratio of two counters' rates, summed up by labels; no series where both rest."""
    return promql(f"""
        sum by ({by}) (rate({part}[{window}]))
        /
        sum by ({by}) (rate({whole}[{window}]))
    """)


def growth(counter: str, by: str, window: str) -> str:
    """Return how much a counter grew, also where its series began within the window.

    A child of a counter begins with its first event, so `increase` alone never sees that event: the
    series is born with it. It is new if it was not there a window ago though the target was.
    """
    return promql(f"""
        sum by ({by}) (
            ({counter} unless {counter} offset {window})
            and on (job, instance) (up offset {window} == 1)
          or
            increase({counter}[{window}])
        )
    """)


def quantile(share: float, histogram: str, by: str, window: str, matchers: str = "") -> str:
    """Return a quantile of a histogram over a window, of all workers together."""
    return promql(f"""
        histogram_quantile(
          {share},
          sum by ({by}, le) (rate({histogram}_bucket{matchers}[{window}]))
        )
    """)
