"""The rules for Prometheus: as the code has them, of metrics that we export, proved by promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from app.observe.metrics import Metrics
from app.observe.rules import (
    GROUPS,
    ROOT,
    alerts,
    documented,
    files,
    main,
    placed,
    recordings,
    rules_file,
    to_yaml,
)
from app.observe.rules_model import Alert, Example, Recording
from app.observe.rules_sources import NOT_RECORDED
from tests.metric_table import DOCUMENT
from tests.metric_table import documented as table

FOLDER = ROOT / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
TESTS = sorted((FOLDER / "tests").glob("*.yml"))


def tool(name: str) -> str | None:
    """Where a program of Debian's package is: installed, or unpacked beside Python."""
    return shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)


PROMTOOL = tool("promtool")
promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: make promtool")
#: Of a scrape, not of the target.
OF_PROMETHEUS = {"up": frozenset[str]()}
FUNCTIONS = {
    *("sum", "max", "rate", "increase", "changes", "histogram_quantile", "max_over_time", "round"),
    *("by", "without", "on", "and", "or", "unless", "offset"),
}


def load(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def metrics() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of every series that is exported, by its name."""
    found = {name: (row.type, row.labels) for name, row in table().items()}
    short = r"^\| `(candlewick_\w+)` \| (counter|gauge|histogram) \| ([a-z, ]+|-) \| [^|]+ \|$"
    for name, kind, labels in re.findall(short, DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE):
        found[name] = (kind, frozenset(() if labels == "-" else labels.split(", ")))
    for family in Metrics().registry.collect():
        if family.name.startswith("process_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, frozenset())
    for name, (kind, labels) in list(found.items()):
        if kind == "histogram":
            del found[name]
            found[f"{name}_bucket"] = ("counter", labels | {"le"})
            found |= {f"{name}_{part}": ("counter", labels) for part in ("sum", "count")}
    return found | {name: ("gauge", labels) for name, labels in OF_PROMETHEUS.items()}


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Name and matched labels of each selector in an expression."""
    text = re.sub(r"\b(?:by|without|on) \([^)]*\)", " ", expression)
    text = re.sub(r"\[\w+\]|\boffset \w+", " ", text)
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?", text):
        if name not in FUNCTIONS:
            yield name, set(re.findall(r"(\w+)[=!]", re.sub(r'"[^"]*"', "", matchers)))


def rules() -> list[Alert | Recording]:
    return [*recordings(), *alerts()]


def test_the_selectors_of_an_expression_are_found() -> None:
    text = 'sum by (a) (rate(x_total{b="c",d!~"e=f"}[5m])) / on (g) up offset 5m > 1.5 or a:b:c'
    assert list(selectors(text)) == [("x_total", {"b", "d"}), ("up", set()), ("a:b:c", set())]


# --- the files -----------------------------------------------------------------------------------


def test_the_files_are_what_the_code_says() -> None:
    differing = [
        str(path.relative_to(ROOT))
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert differing == [], "run: python -m app.observe.rules --write"
    known = set(files()) | {FOLDER / "tests" / "recordings.yml"}
    assert {*RULES, *TESTS} <= known, "a file that nothing makes"


def test_a_file_that_differs_is_told_and_written(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "metrics.md"
    page.write_text("before\n<!-- rules -->\nold\n<!-- /rules -->\nafter\n")
    assert main([], root=tmp_path) == 1
    assert not (tmp_path / "deploy").exists()
    assert main(["--write"], root=tmp_path) == 0
    assert main([], root=tmp_path) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- rules -->\n| alert |")
    assert text.endswith("\n<!-- /rules -->\nafter\n")
    assert "old" not in text.split()
    (tmp_path / "deploy/prometheus/rules/flow.yml").write_text("groups: []\n")
    assert main([], root=tmp_path) == 1


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no <!-- rules -->"):
        documented("no marks")


def test_yaml_gives_back_what_was_written(tmp_path: Path) -> None:
    for group in GROUPS:
        path = tmp_path / "file.yml"
        path.write_text(to_yaml(rules_file(group)))
        assert load(path) == rules_file(group)


# --- the rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_an_expression_uses_what_is_exported_or_recorded(rule: Alert | Recording) -> None:
    known, recorded = metrics(), {each.name for each in recordings()}
    found = list(selectors(rule.expression))
    assert found
    for name, matched in found:
        if name not in recorded:
            assert name in known, name
            assert matched <= known[name][1] | {"job", "instance"}, name


def test_every_series_of_an_example_is_exported_with_all_its_labels() -> None:
    known = metrics()
    for alert in alerts():
        for example in alert.examples:
            for selector in example.series:
                ((name, labels),) = selectors(placed(selector))
                assert labels == known[name][1] | {"job", "instance"}, f"{alert.name}: {selector}"


def test_names_are_given_once() -> None:
    names = Counter((alert.name,) for alert in alerts())
    recorded = Counter((each.name, *each.labels.values()) for each in recordings())
    expressions = Counter((alert.expression,) for alert in alerts())
    for counted in (names, recorded, expressions):
        assert [name for name, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_is_complete(alert: Alert) -> None:
    assert re.fullmatch(r"Candlewick([A-Z][a-z]+)+", alert.name)
    assert alert.severity in ("critical", "warning", "info")
    assert 10 < len(alert.summary) < 100
    assert not alert.summary.endswith(".")
    assert alert.description.endswith(".")
    assert len(alert.runbook) > 15
    texts = f"{alert.summary} {alert.description} {alert.runbook}"
    named = set(re.findall(r"\$labels\.(\w+)", texts))
    assert alert.fires.labels is not None
    assert named <= set(alert.fires.labels), "a label that the alert does not have"


def test_a_runbook_names_metrics_and_alerts_that_are_there() -> None:
    known = {re.sub("_(bucket|sum|count)$", "", name) for name in metrics()}
    for alert in alerts():
        assert set(re.findall(r"\bcandlewick_\w+", alert.runbook)) <= known, alert.name
        named = set(re.findall(r"\bCandlewick\w+", alert.runbook))
        assert named <= {each.name for each in alerts()}, alert.name


def test_an_alert_without_its_examples_or_value_is_refused() -> None:
    fires, quiet = Example("", {}, "1m", {}, "1"), Example("", {}, "1m")
    texts = {"severity": "info", "summary": "", "runbook": ""}
    Alert("A", "up", description="{{ $value }}", fires=fires, quiet=quiet, **texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one example fires"):
        Alert("A", "up", description="{{ $value }}", fires=quiet, quiet=quiet, **texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one example fires"):
        Alert("A", "up", description="{{ $value }}", fires=fires, quiet=fires, **texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not tell the value"):
        Alert("A", "up", description="bad", fires=fires, quiet=quiet, **texts)  # type: ignore[arg-type]


def test_a_recorded_counter_keeps_a_series_for_each_process() -> None:
    known = metrics()
    for each in recordings():
        if each.name.endswith(("_total", "_bucket", "_sum", "_count")):
            ((name, _),) = selectors(each.expression)
            assert known[name][0] == "counter", each.name
            assert " by " not in each.expression, each.name


def test_every_name_of_the_sources_is_recorded_or_said_to_be_missing() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("| theirs | here |")[2]
    theirs = re.findall(r"^\| `(\w+)` \|", text.partition("## Logs")[0], re.MULTILINE)
    assert len(theirs) >= 11
    recorded = {re.sub("_bucket$", "", each.name) for each in recordings()}
    missing = {each.what.strip("`") for each in NOT_RECORDED}
    assert {name for name in theirs if name not in recorded} == missing


# --- their tests ---------------------------------------------------------------------------------


def cases() -> list[dict[str, Any]]:
    return [case for path in TESTS for case in load(path)["tests"]]


def test_every_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    fired: dict[bool, set[str]] = {True: set(), False: set()}
    for case in cases():
        if looks := case.get("alert_rule_test"):
            (name,) = {each["alertname"] for each in looks}
            fired[any(each["exp_alerts"] for each in looks)].add(name)
    assert fired[True] == fired[False] == {alert.name for alert in alerts()}


def test_every_recorded_name_has_a_test() -> None:
    text = " ".join(each["expr"] for case in cases() for each in case.get("promql_expr_test", ()))
    tested = {name for name, _ in selectors(text)}
    assert {each.name for each in recordings()} - tested == set()


# --- promtool ------------------------------------------------------------------------------------


def run(*arguments: str | Path, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )


@promtool
def test_promtool_accepts_rules_and_configurations() -> None:
    ended = run("check", "rules", *RULES)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("SUCCESS") == len(RULES) == len(GROUPS)
    for path in sorted(FOLDER.glob("*.yml")):
        ended = run("check", "config", path)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert f"{len(RULES)} rule files found" in ended.stdout


@promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_runs_the_tests_of_the_rules(path: Path) -> None:
    ended = run("test", "rules", path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@promtool
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("> 0.05", "> 0.03"), ("for: 5m", "for: 4m"), ("unless", "or")],
)
def test_promtool_sees_a_wrong_rule(tmp_path: Path, right: str, wrong: str) -> None:
    shutil.copytree(FOLDER, tmp_path / "prometheus")
    path = tmp_path / "prometheus" / "rules" / "flow.yml"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    assert run("test", "rules", "tests/flow.yml", folder=tmp_path / "prometheus").returncode != 0
