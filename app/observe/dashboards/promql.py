"""Expressions of Prometheus over what the variables of a dashboard choose."""

from __future__ import annotations

from app.observe.dashboards.model import Promql

_QUANTILES = ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))


def of(metric: str, *matchers: str, agent: bool = True) -> str:
    """Return a selector of the chosen deployment, and of the chosen agents."""
    chosen = ['job="$job"', *(['agent=~"$agent"'] if agent else []), *matchers]
    return f"{metric}{{{','.join(chosen)}}}"


def rate(metric: str, *matchers: str, agent: bool = True) -> str:
    """Return how much a counter grows a second."""
    return f"rate({of(metric, *matchers, agent=agent)}[$__rate_interval])"


def total(by: str, inner: str) -> str:
    """Return a sum by labels."""
    return f"sum by ({by}) ({inner})"


def quantiles(histogram: str, by: str, *matchers: str, agent: bool = True) -> tuple[Promql, ...]:
    """Return the median, P95 and P99 of a histogram."""
    buckets = total(f"{by}, le", rate(f"{histogram}_bucket", *matchers, agent=agent))
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return tuple(
        Promql(f"histogram_quantile({share}, {buckets})", f"{legend} {name}")
        for share, name in _QUANTILES
    )
