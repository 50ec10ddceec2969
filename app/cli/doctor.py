"""`candlewick doctor`: what is there, what is missing, and the command that mends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from app import exits
from app.cli.common import json_option, print_json, read_settings, run_async
from app.observe.logs import mask_addresses
from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from app.doctor import Finding


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check the installation, the settings, the broker and the deployment; changes nothing.

    Each check is ok, a note (it works, but) or a problem, with the command that mends it. Exit code
    1 where there is a problem.

    \b
    --json prints result (the worst one) and checks: check, result, says, mend.
    Example:
      candlewick doctor --json
    """
    from app.doctor import examine

    settings: Settings | SettingsError
    try:
        settings = read_settings()
    except SettingsError as error:
        settings = error
    found = run_async(lambda: examine(settings))
    counts = Counter(each.result for each in found)
    if as_json:
        worst = next(each for each in ("problem", "note", "ok") if counts[each])
        text = {"result": worst, "checks": [asdict(each) for each in found]}
        print_json(text)
    else:
        click.echo(mask_addresses("\n".join(finding_lines(found))))
    if counts["problem"]:
        click.get_current_context().exit(exits.FAILURE)


def finding_lines(found: list[Finding]) -> list[str]:
    """Return a line for each finding and one for what mends it, then how many there are."""
    width = max(len(each.check) for each in found)
    lines = []
    for each in found:
        lines.append(f"{each.result:<7}  {each.check:<{width}}  {each.says}")
        if each.mend is not None:
            lines.append(f"{'':<7}  {'':<{width}}  mend: {each.mend}")
    counts = Counter(each.result for each in found)
    said = [f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in ("problem", "note")]
    return [*lines, "", f"{len(found)} findings: {', '.join(said)}"]
