"""`candlewick models monitor`: how the versions at work do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from app.cli.common import (
    deployment_options,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    safe_text,
    say,
    table_lines,
)
from app.cli.models_registry import open_registry, registry_option

if TYPE_CHECKING:
    from app.run.monitoring import Watched
    from models.predicting.monitoring_records import Figures


@click.command()
@click.argument("name", required=False)
@deployment_options
@registry_option
@json_option
def monitor(
    name: str | None,
    deployment: str | None,
    topic_prefix: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Say how the versions at work do, of all models or of NAME: errors, coverage, drift.

    The agents publish what they know each hour of event time; of each alias the version that was
    watched last is shown, of all partitions together. Skill is against zero and the last value, of
    all outcomes since the version was watched. PSI above 0.25 is by custom a major shift of a
    feature. Challengers are compared with the champion on the rows that both predicted; the verdict
    holds at all looks together.

    \b
    Example:
      candlewick models monitor returns

    \b
    --json prints an array of objects: model, records (as the topic has them, of all
    partitions), comparisons, unreadable.
    """
    from app.run.monitoring import read_monitoring, watched

    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    records = run_async(lambda: read_monitoring(settings))
    chosen = [each for each in records if name in (None, each.model)]
    with open_registry(location) as registry:
        found = watched(chosen, registry)
    if as_json:
        print_json([_plain(each) for each in found])
        return
    if not found:
        say("candlewick: no version was watched for an hour of event time yet")
    click.echo("\n\n".join("\n".join(_lines(each)) for each in found))
    for each in found:
        for fault in each.unreadable:
            say(safe_text(f"candlewick: no drift: {fault}"))


def _plain(found: Watched) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(found)
    for place, each in enumerate(found.comparisons):
        plain["comparisons"][place]["sentence"] = each.sentence
    return plain


def _lines(found: Watched) -> list[str]:
    header = (
        *("ALIAS", "VERSION", "OUTCOMES", "RMSE BP", "SKILL", "BESIDE LAST", "COVERAGE", "RECENT"),
        *("WIDTH BP", "WORST PSI"),
    )
    rows = [
        (each.alias, str(each.version), f"{each.figures.outcomes:,}", *_cells(each.figures))
        for each in found.records
    ]
    return [
        found.model,
        *table_lines([header, *rows]),
        *(
            f"challenger {each.challenger} beside champion {each.champion}: {each.sentence}"
            for each in found.comparisons
        ),
    ]


def _cells(figures: Figures) -> tuple[str, ...]:
    worst = "-"
    if figures.worst_psi is not None:
        worst = f"{figures.worst_psi:.3f} {figures.worst_feature}"
    return (
        _number(None if figures.mse is None else figures.mse**0.5 * 1e4, "{:.2f}"),
        _number(figures.skill_against_zero, "{:+.2%}"),
        _number(figures.skill_against_last_value, "{:+.2%}"),
        _number(figures.coverage, "{:.1%}"),
        _number(figures.recent_coverage, "{:.1%}"),
        _number(None if figures.mean_width is None else figures.mean_width * 1e4, "{:.2f}"),
        worst,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
