"""What a dashboard is: rows of panels with their queries, without Grafana's JSON.

Declared apart, so that tests see each query, unit and description, and a newer Grafana changes
`building.py` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table", "heatmap", "candlestick"]


@dataclass(frozen=True, slots=True)
class Promql:
    """A query of Prometheus.

    Args:
        expression: PromQL; `$job` and `$agent` are the dashboard's variables.
        legend: name of each series, with labels as `{{agent}}`.
        instant: the latest value alone.
    """

    expression: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Flux:
    """A query of InfluxDB; `v.` names and `${...}` are filled in by Grafana."""

    text: str


Query = Promql | Flux


@dataclass(frozen=True, slots=True)
class Style:
    """How one field of a panel is drawn.

    Args:
        name: of the field.
        properties: Grafana's properties of a field, by their ids.
    """

    name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Args:
        title: one of its kind in the dashboard.
        description: what is shown and what to make of it, for somebody who reads no code.
        unit: of Grafana's: `s`, `bytes`, `cps` (a second), `percentunit`, `none` ...
        queries: all of one data source.
        width: of 24 columns.
        limits: what the axis shows at least, and not beyond.
        thresholds: from which value on which colour; the first has None.
        zones: thresholds are drawn as areas.
        styles: of single fields.
        points: marks instead of lines.
        name: of each series, where a query has no legend: `${__field.labels.kind}`.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    limits: tuple[float | None, float | None] = (None, None)
    thresholds: tuple[tuple[float | None, str], ...] = ()
    zones: bool = False
    styles: tuple[Style, ...] = ()
    points: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if len({type(query) for query in self.queries}) != 1:
            raise ValueError(f"{self.title}: expected queries of one data source")


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a user chooses above the panels.

    Args:
        name: as queries write it.
        label: as people read it.
        query: that lists the values: Flux, or the metric whose label of that name has them.
        choices: the values, instead of a query.
        many: several, or all; queries then match it as a pattern.
    """

    name: str
    label: str
    query: Flux | str = ""
    choices: tuple[str, ...] = ()
    many: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Args:
        name: of the file; with `candlewick-` before it the address in Grafana.
        span: the time that is shown first, up to now.
        refresh: how often it asks again.
    """

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = field(default=())
    span: str = "1h"
    refresh: str = "10s"

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, row by row."""
        for row in self.rows:
            yield from row.panels
