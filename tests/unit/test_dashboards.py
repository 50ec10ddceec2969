"""Grafana's dashboards: as the code has them, complete, and of metrics and fields that there are.

No Grafana is asked: what its schemas know is held by the types of its SDK, which are made from
them. `tests/checks/dashboards_live.py` runs every query.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.observe.dashboards.__main__ import DASHBOARDS, ROOT, files, main
from app.observe.dashboards.building import INFLUXDB, PROMETHEUS, FluxQuery, dashboard_json
from app.observe.dashboards.flux import told
from app.observe.dashboards.model import Dashboard, Flux, Panel, Promql, Variable
from app.observe.dashboards.provisioning import FOLDER, VARIABLES, datasources, providers
from app.sinks.measurements import MEASUREMENTS, NULLS
from tables.indicators.registry import DEFAULT_INDICATORS, parse_indicators
from tests.unit.test_prometheus_rules import load, metrics, promtool, run, selectors

GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
#: Of Grafana's, those that are used: base units, so that it chooses the prefix.
UNITS = {
    *("s", "ns", "bytes", "Bps", "cps", "reqps", "percentunit", "none", "short"),
    "dateTimeFromNow",
}
#: Functions and words of PromQL beside those of the rules.
WORDS = {"min", "count", "avg", "time"}
#: That Grafana fills in.
BUILT_IN = {"__rate_interval", "__range", "__field"}

dashboards = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
panels = pytest.mark.parametrize(
    "panel",
    [panel for each in DASHBOARDS for panel in each.panels],
    ids=[f"{each.name}: {panel.title}" for each in DASHBOARDS for panel in each.panels],
)


def drawn(dashboard: Dashboard) -> list[dict[str, Any]]:
    """The panels of a dashboard's JSON, without the headings."""
    every: list[dict[str, Any]] = json.loads(dashboard_json(dashboard))["panels"]
    return [each for each in every if each["type"] != "row"]


# --- the files -----------------------------------------------------------------------------------


def test_the_files_are_what_the_code_says() -> None:
    differing = [
        str(path.relative_to(ROOT))
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert differing == [], "run: python -m app.observe.dashboards --write"
    there = {path for path in GRAFANA.rglob("*") if path.is_file()}
    assert there == set(files()), "a file that nothing makes"


def test_a_file_that_differs_is_told_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], root=tmp_path) == 1
    assert not (tmp_path / "deploy").exists()
    assert main(["--write"], root=tmp_path) == 0
    capsys.readouterr()
    assert main([], root=tmp_path) == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "deploy/grafana/dashboards/market.json").write_text("{}\n")
    assert main([], root=tmp_path) == 1
    assert capsys.readouterr().out == "differs: deploy/grafana/dashboards/market.json\n"


def kept(text: str) -> Any:
    """What Grafana's types know of a dashboard, without the queries of InfluxDB.

    The SDK has no type of those; the test below looks at them.
    """
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard as Known

    register_default_plugins()
    return without_flux(json.loads(json.dumps(Known.from_json(json.loads(text)), cls=JSONEncoder)))


def without_flux(board: Any) -> Any:
    for panel in board["panels"]:
        panel["targets"] = [each for each in panel.get("targets", ()) if "expr" in each]
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if not defaults.get("custom", True):
            # What the types put where there is none.
            del defaults["custom"]
    return board


@dashboards
def test_a_dashboard_holds_nothing_that_grafanas_types_do_not_know(dashboard: Dashboard) -> None:
    text = dashboard_json(dashboard)
    assert kept(text) == without_flux(json.loads(text))


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ('"candleStyle"', '"candlesStyle"'),
        ('"drawStyle"', '"drawstyle"'),
        ('"fieldConfig"', '"fieldconfig"'),
        ('"refresh"', '"refreshed"'),
    ],
)
def test_what_grafanas_types_do_not_know_is_seen(known: str, unknown: str) -> None:
    text = dashboard_json(DASHBOARDS[0])
    assert known in text
    wrong = text.replace(known, unknown)
    try:
        assert kept(wrong) != without_flux(json.loads(wrong))
    except (AttributeError, KeyError, TypeError):
        # The types need what is gone.
        return


# --- the panels ----------------------------------------------------------------------------------


def test_names_are_given_once() -> None:
    uids = [json.loads(path.read_text())["uid"] for path in FILES]
    assert len(set(uids)) == len(uids) == len(DASHBOARDS)
    assert all(re.fullmatch(r"[a-z-]{1,40}", uid) for uid in uids)
    for dashboard in DASHBOARDS:
        every = json.loads(dashboard_json(dashboard))["panels"]
        assert len({each["id"] for each in every}) == len(every)
        titles = Counter(panel.title for panel in dashboard.panels)
        assert [title for title, count in titles.items() if count > 1] == []


@panels
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: Panel) -> None:
    assert panel.unit in UNITS
    assert 20 < len(panel.description) < 400
    assert panel.description.endswith(".")
    assert not panel.title.endswith(".")
    assert panel.queries
    if len(panel.queries) > 1 and isinstance(panel.queries[0], Promql):
        assert all(isinstance(each, Promql) and each.legend for each in panel.queries)


@dashboards
def test_a_panel_of_the_json_has_what_was_declared(dashboard: Dashboard) -> None:
    found = drawn(dashboard)
    for panel, made in zip(dashboard.panels, found, strict=True):
        assert made["type"] == panel.kind
        assert made["title"] == panel.title
        assert made["description"] == panel.description
        assert made["fieldConfig"]["defaults"]["unit"] == panel.unit
        source = INFLUXDB if isinstance(panel.queries[0], Flux) else PROMETHEUS
        assert made["datasource"] == source
        texts = [each.text if isinstance(each, Flux) else each.expression for each in panel.queries]
        assert [each.get("expr") or each["query"] for each in made["targets"]] == texts
        names = [each["refId"] for each in made["targets"]]
        assert len(set(names)) == len(names)
        assert all(each["datasource"] == source for each in made["targets"])


@dashboards
def test_panels_lie_side_by_side(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard_json(dashboard))["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_panel_of_two_data_sources_is_refused() -> None:
    with pytest.raises(ValueError, match="one data source"):
        Panel("A", "", "none", (Promql("up"), Flux("buckets()")))


def test_the_market_has_candles_with_all_that_was_found_in_them() -> None:
    (candles,) = [each for each in drawn(DASHBOARDS[0]) if each["type"] == "candlestick"]
    options = candles["options"]
    assert options["mode"] == "candles+volume"
    assert options["includeAllFields"] is True
    assert options["fields"] == {name: name for name in ("open", "high", "low", "close", "volume")}
    named = {each["matcher"]["options"] for each in candles["fieldConfig"]["overrides"]}
    assert named == {"vwap", "volume", "anomaly", *(f"predicted{x}" for x in ("", "_low", "_high"))}
    for name in named:
        assert name in json.dumps(candles["targets"]), "a style of a field that no query gives"


# --- the variables -------------------------------------------------------------------------------


def texts_of(dashboard: Dashboard) -> Iterator[str]:
    for panel in dashboard.panels:
        yield panel.name
        for query in panel.queries:
            yield query.text if isinstance(query, Flux) else query.expression + query.legend
    for variable in dashboard.variables:
        if isinstance(variable.query, Flux):
            yield variable.query.text


@dashboards
def test_variables_are_declared_and_used(dashboard: Dashboard) -> None:
    text = " ".join(texts_of(dashboard))
    used = set(re.findall(r"\$\{?(\w+)", text)) - BUILT_IN
    assert used == {variable.name for variable in dashboard.variables}


def test_the_market_asks_for_symbol_and_bar_size() -> None:
    assert {"symbol", "interval"} <= {each.name for each in DASHBOARDS[0].variables}


# --- Prometheus ----------------------------------------------------------------------------------


def expressions() -> Iterator[tuple[str, Promql]]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                if isinstance(query, Promql):
                    yield f"{dashboard.name}: {panel.title}", query


def test_every_expression_is_of_metrics_and_labels_that_are_exported() -> None:
    known = metrics()
    for place, query in expressions():
        text = re.sub(r"\[\$__\w+\]", "[5m]", query.expression)
        found = [each for each in selectors(text) if each[0] not in WORDS]
        assert found, place
        for name, matched in found:
            assert name in known, f"{place}: {name}"
            assert "job" in matched, f"{place}: adds up deployments"
            assert matched <= known[name][1] | {"job", "instance"}, f"{place}: {name}"


def test_every_label_of_a_legend_and_a_sum_is_of_the_metric() -> None:
    known = metrics()
    for place, query in expressions():
        text = re.sub(r"\[\$__\w+\]", "[5m]", query.expression)
        labels = set.intersection(
            *(set(known[name][1]) for name, _ in selectors(text) if name not in WORDS)
        ) | {"job", "instance"}
        summed = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", text))))
        assert summed <= labels, place
        named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        assert named <= (summed or labels), place


@promtool
def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"

    def check(texts: list[str]) -> int:
        rules = [{"record": f"query:{n}", "expr": text} for n, text in enumerate(texts)]
        path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
        return run("check", "rules", path, folder=tmp_path).returncode

    texts = [re.sub(r"\[\$__\w+\]", "[5m]", query.expression) for _, query in expressions()]
    assert check(texts) == 0
    assert check([*texts, "sum by (agent (up)"]) != 0


@dashboards
def test_a_variable_of_prometheus_is_a_label_of_its_metric(dashboard: Dashboard) -> None:
    known = metrics()
    for variable in dashboard.variables:
        if isinstance(variable.query, str) and variable.query:
            assert variable.name in known[variable.query][1] | {"job", "instance"}


# --- InfluxDB ------------------------------------------------------------------------------------


def fluxes() -> Iterator[tuple[str, str]]:
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                if isinstance(query, Flux):
                    yield f"{dashboard.name}: {panel.title}", query.text


def test_every_flux_query_is_of_measurements_tags_and_fields_that_are_written() -> None:
    known = {each.name: each for each in MEASUREMENTS}
    outputs = {name for each in parse_indicators(DEFAULT_INDICATORS) for name in each.names}
    seen = set()
    for place, text in fluxes():
        parts = text.split("from(bucket:")[1:]
        assert parts, place
        for part in parts:
            (name,) = re.findall(r'r\._measurement == "(\w+)"', part)
            seen.add(name)
            measurement = known[name]
            fields = set(re.findall(r'r\._field == "([^"]+)"', part))
            assert fields, place
            there = set(measurement.fields) | ({NULLS} if measurement.revised else set())
            there |= outputs if name == "indicators" else set()
            assert fields <= there, f"{place}: {name}"
            tags = set(re.findall(r'r\.(\w+) == "', part)) - {"_measurement", "_field"}
            assert tags <= set(measurement.tags), f"{place}: {name}"
    assert {"bars", "indicators", "anomalies", "predictions", "prediction_outcomes"} <= seen


def test_the_values_of_a_variable_are_those_of_a_tag() -> None:
    known = {each.name: each for each in MEASUREMENTS}
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            if isinstance(variable.query, Flux) and "tagValues" in variable.query.text:
                (name,) = re.findall(r'r\._measurement == "(\w+)"', variable.query.text)
                assert f'tag: "{variable.name}"' in variable.query.text
                assert variable.name in known[name].tags


def test_a_field_that_a_revision_takes_back_is_left_out() -> None:
    text = told("bars", "vwap", 'r.symbol == "A"', name="VWAP")
    assert 'r._field == "vwap" or r._field == "nulls"' in text
    assert 'substr: ",vwap,"' in text
    assert text.endswith('rename(columns: {"vwap": "VWAP"})')


def test_a_flux_query_is_read_back_as_it_was() -> None:
    query = FluxQuery("buckets()", "A")
    assert FluxQuery.from_json(query.to_json()).to_json() == query.to_json()


# --- provisioning --------------------------------------------------------------------------------


def test_data_sources_hold_no_address_and_no_secret() -> None:
    (path,) = (GRAFANA / "provisioning" / "datasources").glob("*.yml")
    loaded = load(path)
    assert loaded == datasources()
    by_type = {each["type"]: each for each in loaded["datasources"]}
    assert {name: each["uid"] for name, each in by_type.items()} == {
        each["type"]: each["uid"] for each in (PROMETHEUS, INFLUXDB)
    }
    assert by_type["influxdb"]["jsonData"]["version"] == "Flux"
    for each in by_type.values():
        assert re.fullmatch(r"\$\{\w+\}", each["url"])
        for secret in each.get("secureJsonData", {}).values():
            assert re.fullmatch(r"\$\{\w+\}", secret)
    assert set(re.findall(r"\$\{(\w+)\}", path.read_text())) == set(VARIABLES)


def test_the_shortest_rate_is_over_more_than_one_scrape() -> None:
    (prometheus,) = [each for each in datasources()["datasources"] if each["type"] == "prometheus"]
    scraped = load(ROOT / "deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert prometheus["jsonData"]["timeInterval"] == scraped


def test_the_compose_file_gives_grafana_all_it_reads() -> None:
    compose = load(ROOT / "docker-compose.yml")
    service = compose["services"]["grafana"]
    assert set(VARIABLES) <= set(service["environment"])
    mounted = dict(each.split(":")[1::-1] for each in service["volumes"] if each.startswith("./"))
    assert mounted[FOLDER] == "./deploy/grafana/dashboards"
    for kind in ("datasources", "dashboards"):
        assert mounted[f"/etc/grafana/provisioning/{kind}"] == (
            f"./deploy/grafana/provisioning/{kind}"
        )
    (provider,) = providers()["providers"]
    assert provider["options"]["path"] == FOLDER
    assert all(each.endswith(":ro") for each in service["volumes"] if each.startswith("./"))


def test_a_variable_has_values() -> None:
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            assert isinstance(variable, Variable)
            assert bool(variable.query) != bool(variable.choices)
