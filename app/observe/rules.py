"""Prometheus' rules from code: `python -m app.observe.rules --write` writes the YAML and the docs.

Read `rules_model.py` (what a rule is), `rules_thresholds.py` (every bound), then the groups:
`rules_sources.py`, `rules_flow.py`, `rules_worker.py`, `rules_models.py`, `rules_sinks.py`,
`rules_slo.py`. Without `--write` it compares, and ends with 1 where a file is not what the code
says.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.durations import format_duration, parse_duration
from app.observe.made import write_or_compare
from app.observe.rules_flow import FLOW
from app.observe.rules_model import Alert, Example, Group, Recording
from app.observe.rules_models import DELIVERY, MODELS
from app.observe.rules_sinks import SINKS
from app.observe.rules_slo import BUDGETS, NO_ALERT, SLO
from app.observe.rules_sources import NOT_RECORDED, SOURCES
from app.observe.rules_worker import WORKER

ROOT = Path(__file__).resolve().parents[2]
GROUPS: tuple[Group, ...] = (
    *(SOURCES, FLOW, WORKER, MODELS),
    *(DELIVERY, SINKS, SLO, BUDGETS),
)
MADE = "Made by `python -m app.observe.rules --write` from app/observe/rules_*.py: change those."
DOCUMENT = "docs/metrics.md"
BEGIN, END = "<!-- rules -->", "<!-- /rules -->"


def alerts() -> list[Alert]:
    """Return all alerts, group by group."""
    return [alert for group in GROUPS for alert in group.alerts]


def recordings() -> list[Recording]:
    """Return all recording rules, group by group."""
    return [recording for group in GROUPS for recording in group.recordings]


def rules_file(group: Group) -> dict[str, Any]:
    """Return a group as Prometheus' rule file."""
    rules: list[dict[str, Any]] = []
    for recording in group.recordings:
        rule: dict[str, Any] = {"record": recording.name, "expr": recording.expression}
        rules.append(rule | ({"labels": dict(recording.labels)} if recording.labels else {}))
    for alert in group.alerts:
        rule = {"alert": alert.name, "expr": alert.expression}
        rule |= {"for": alert.hold} if alert.hold != "0s" else {}
        rule["labels"] = {"severity": alert.severity, **alert.labels}
        rule["annotations"] = _annotations(alert)
        rules.append(rule)
    interval = {"interval": group.interval} if group.interval else {}
    return {"groups": [{"name": f"candlewick-{group.name}", **interval, "rules": rules}]}


def tests_file(group: Group) -> dict[str, Any]:
    """Return the unit tests of a group's alerts, for `promtool test rules`."""
    return {
        "rule_files": [f"../rules/{group.name}.yml"],
        "evaluation_interval": group.alerts[0].fires.every,
        "tests": [_test(alert, example) for alert in group.alerts for example in alert.examples],
    }


def _annotations(alert: Alert) -> dict[str, str]:
    return {
        "summary": alert.summary,
        "description": alert.description,
        "runbook": alert.runbook,
    }


def _test(alert: Alert, example: Example) -> dict[str, Any]:
    expected = []
    if example.labels is not None:
        annotations = {
            name: _told(text, example.labels, example.value)
            for name, text in _annotations(alert).items()
        }
        labels = {"severity": alert.severity, **alert.labels, **example.labels}
        expected = [{"exp_labels": labels, "exp_annotations": annotations}]
    looks: list[dict[str, Any]] = []
    if expected and alert.hold != "0s":
        early = format_duration(parse_duration(alert.hold) - parse_duration(example.every))
        looks.append({"eval_time": early, "alertname": alert.name, "exp_alerts": []})
    looks.append({"eval_time": example.at, "alertname": alert.name, "exp_alerts": expected})
    verb = "fires" if expected else "does not fire"
    return {
        "name": f"{alert.name} {verb}: {example.says}",
        "interval": example.every,
        "input_series": [
            {"series": placed(selector), "values": values}
            for selector, values in example.series.items()
        ],
        "alert_rule_test": looks,
    }


def _told(template: str, labels: Mapping[str, str], value: str) -> str:
    """Fill in what Prometheus will: labels, and the value as the example says it is told."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], template)
    text = re.sub(r"\{\{ \$value \| humanize1024 \}\}B", value, text)
    return re.sub(r"\{\{ \$value \| \w+ \}\}", value, text)


def placed(selector: str) -> str:
    """Add the labels of a scrape to a series: its job and its instance."""
    name, _, labels = selector.rstrip("}").partition("{")
    given = {"job": "candlewick", "instance": "one"}
    added = [f'{key}="{value}"' for key, value in given.items() if f"{key}=" not in labels]
    return f"{name}{{{','.join([*added, *filter(None, [labels])])}}}"


def to_yaml(content: Mapping[str, Any], made: str = MADE) -> str:
    """Return YAML below the line that says who made it; texts of several lines as blocks.

    Raises:
        ModuleNotFoundError: ruamel.yaml is not there; the message says how to install it.
    """
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.scalarstring import LiteralScalarString
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "writing the rules needs ruamel.yaml: pip install 'ruamel.yaml>=0.18'"
        ) from error

    def blocks(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: blocks(each) for key, each in value.items()}
        if isinstance(value, list):
            return [blocks(each) for each in value]
        many = isinstance(value, str) and "\n" in value
        return LiteralScalarString(value) if many else value

    yaml = YAML()
    yaml.width = 4096  # a folded line is harder to compare than a long one
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(blocks(content), stream)
    return f"# {made}\n{stream.getvalue()}"


def section() -> str:
    """Return the part of `docs/metrics.md` between the two marks: all alerts, names, what lacks."""
    lines = ["| alert | severity | fires when | holds for |", "|---|---|---|---|"]
    lines += [
        f"| `{alert.name}` | {alert.severity} | {_plain(alert.summary)} | {_held(alert)} |"
        for alert in alerts()
    ]
    lines += ["", "Not there, and why:", ""]
    lines += [f"- {missing.what}: {missing.why}." for missing in (*NO_ALERT, *NOT_RECORDED)]
    return "\n".join(lines)


def _held(alert: Alert) -> str:
    return "at once" if alert.hold == "0s" else alert.hold


def _plain(template: str) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"`\1`", template)


def documented(text: str) -> str:
    """Return a page with the section between its marks as the code has it.

    Raises:
        ValueError: the page has not both marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} has no {BEGIN} ... {END}")
    return f"{before}{begin}\n{section()}\n{end}{after}"


def files(root: Path = ROOT) -> dict[Path, str]:
    """Return every file that is made from the code, with what should stand in it."""
    folder = root / "deploy" / "prometheus"
    found = {folder / "rules" / f"{group.name}.yml": to_yaml(rules_file(group)) for group in GROUPS}
    found |= {
        folder / "tests" / f"{group.name}.yml": to_yaml(tests_file(group))
        for group in GROUPS
        if group.alerts
    }
    page = root / DOCUMENT
    found[page] = documented(page.read_text(encoding="utf-8"))
    return found


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Compare the files with the code, or write them; return the exit code."""
    return write_or_compare(
        files(root),
        root,
        program="python -m app.observe.rules",
        description=__doc__,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
