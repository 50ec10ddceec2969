"""Grafana's JSON of a dashboard, by its Foundation SDK, whose types come from Grafana's schemas.

The SDK has no type of InfluxDB's queries: those are what Grafana's editor of Flux writes. Numbers
of panels are given by place, so a dashboard gives the same bytes until it is changed.
"""

from __future__ import annotations

import json
from typing import Any

from app.observe.dashboards.model import Dashboard, Flux, Panel, Promql, Query, Variable
from app.observe.dashboards.provisioning import INFLUXDB, PROMETHEUS

try:
    from grafana_foundation_sdk.builders import (
        candlestick,
        heatmap,
        stat,
        table,
        timeseries,
    )
    from grafana_foundation_sdk.builders import common as common_builders
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.builders import prometheus as prometheus_builders
    from grafana_foundation_sdk.cog import variants
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import candlestick as candlestick_models
    from grafana_foundation_sdk.models import common, dashboard, prometheus
    from grafana_foundation_sdk.models import heatmap as heatmap_models
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "making the dashboards needs Grafana's SDK: pip install grafana-foundation-sdk"
    ) from error


class FluxQuery(variants.Dataquery):
    """A query of InfluxDB in Flux, as its editor keeps it."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name

    def to_json(self) -> dict[str, object]:
        """Return what the JSON holds."""
        return {"refId": self.name, "datasource": dict(INFLUXDB), "query": self.text}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FluxQuery:
        """Return the query of such an object."""
        return cls(data["query"], data["refId"])


class _FluxBuilder(Builder[variants.Dataquery]):
    def __init__(self, query: FluxQuery) -> None:
        self._query = query

    def build(self) -> variants.Dataquery:
        return self._query


def dashboard_json(chosen: Dashboard) -> str:
    """Return a dashboard as a file that Grafana reads."""
    made = (
        builders.Dashboard(chosen.title)
        .uid(f"candlewick-{chosen.name}")
        .description(chosen.description)
        .tags(["candlewick"])
        .time(f"now-{chosen.span}", "now")
        .timezone("browser")
        .refresh(chosen.refresh)
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    for variable in chosen.variables:
        made = made.with_variable(_variable(variable))
    numbers = iter(range(1, 1_000))
    for row in chosen.rows:
        made = made.with_row(builders.Row(row.title).id(next(numbers)))
        for panel in row.panels:
            made = made.with_panel(_panel(panel).id(next(numbers)))
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(panel: Panel) -> Any:
    """Return the builder of a panel; those of the kinds have no type in common but this."""
    made: Any = {
        "timeseries": _series,
        "stat": _stat,
        "table": _table,
        "heatmap": _heatmap,
        "candlestick": _candlestick,
    }[panel.kind]()
    made = (
        made.title(panel.title)
        .description(panel.description)
        .datasource(_source(panel.queries[0]))
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
    )
    for place, query in enumerate(panel.queries):
        made = made.with_target(_target(panel, query, chr(ord("A") + place)))
    lowest, highest = panel.limits
    if lowest is not None:
        made = made.min(lowest)
    if highest is not None:
        made = made.max(highest)
    if panel.name:
        made = made.display_name(panel.name)
    if panel.thresholds:
        made = made.thresholds(
            builders.ThresholdsConfig()
            .mode(dashboard.ThresholdsMode.ABSOLUTE)
            .steps([dashboard.Threshold(value, colour) for value, colour in panel.thresholds])
        )
    if panel.zones:
        made = made.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.AREA)
        )
    if panel.points:
        made = made.draw_style(common.GraphDrawStyle.POINTS).point_size(7)
    for style in panel.styles:
        made = made.override_by_name(
            style.name,
            [dashboard.DynamicConfigValue(key, value) for key, value in style.properties.items()],
        )
    return made


def _series() -> Any:
    return (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )


def _legend() -> Any:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )


def _stat() -> Any:
    return (
        stat.Panel()
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .no_value("0")
    )


def _table() -> Any:
    return table.Panel().show_header(True)


def _heatmap() -> Any:
    return (
        heatmap.Panel()
        .calculate(False)
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .fill("dark-orange")
        )
        .show_legend()
    )


def _candlestick() -> Any:
    return (
        candlestick.Panel()
        .mode(candlestick_models.VizDisplayMode.CANDLES_VOLUME)
        .candle_style(candlestick_models.CandleStyle.CANDLES)
        .color_strategy(candlestick_models.ColorStrategy.OPEN_CLOSE)
        .fields(
            candlestick.CandlestickFieldMap()
            .open("open")
            .high("high")
            .low("low")
            .close("close")
            .volume("volume")
        )
        .include_all_fields(True)
        .legend(_legend())
    )


def _source(query: Query) -> Any:
    source = INFLUXDB if isinstance(query, Flux) else PROMETHEUS
    return dashboard.DataSourceRef(source["type"], source["uid"])


def _target(panel: Panel, query: Query, name: str) -> Any:
    if isinstance(query, Flux):
        return _FluxBuilder(FluxQuery(query.text, name))
    made = (
        prometheus_builders.Dataquery()
        .expr(query.expression)
        .ref_id(name)
        .datasource(_source(query))
        .editor_mode(prometheus.QueryEditorMode.CODE)
    )
    made = made.instant() if query.instant else made.range()
    if panel.kind == "heatmap":
        made = made.format(prometheus.PromQueryFormat.HEATMAP)
    return made.legend_format(query.legend) if query.legend else made


def _variable(variable: Variable) -> Any:
    if variable.choices:
        return (
            builders.CustomVariable(variable.name)
            .label(variable.label)
            .values(",".join(variable.choices))
            .current(dashboard.VariableOption(True, variable.choices[0], variable.choices[0]))
        )
    made = (
        builders.QueryVariable(variable.name)
        .label(variable.label)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )
    if isinstance(variable.query, Flux):
        source, text = _source(variable.query), variable.query.text
    else:
        source, text = _source(Promql("")), f"label_values({variable.query}, {variable.name})"
    # Not as text alone: newer data sources read `query` of an object.
    made = made.datasource(source).query({"query": text, "refId": f"variable-{variable.name}"})
    if variable.many:
        made = made.multi(True).include_all(True).all_value(".+")
    return made
