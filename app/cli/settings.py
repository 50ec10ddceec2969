"""`candlewick settings`: the effective settings, each with its name in the environment."""

from __future__ import annotations

import json
from typing import Any

import click
from pydantic import SecretStr

from app.cli.common import print_json, read_settings
from app.observe.logs import MASK, mask_addresses
from app.run.environment import environment_name, setting_text, walk_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, by name.")
def settings(as_json: bool) -> None:
    """Print the effective settings, with secrets masked.

    The text is a TOML file that `CANDLEWICK_CONFIG` may name; the comment behind each value is
    its name in the environment.

    \b
    --json prints an object from names CANDLEWICK_... to values; null is not set.
    Example:
      candlewick settings > candlewick.toml
    """
    group = ""
    found: dict[str, Any] = {}
    lines: list[str] = []
    for path, field, value in walk_settings(read_settings()):
        name = environment_name(path)
        text = setting_text(field, value)
        if isinstance(value, SecretStr):
            text = MASK
        elif text is not None:
            text = mask_addresses(text)
        plain = value if isinstance(value, bool | int | float) and text == str(value) else text
        found[name] = value if isinstance(value, bool) else plain
        if len(path) > 1 and path[0] != group:
            group = path[0]
            lines += ["", f"[{group}]"]
        shown = f"# {path[-1]} is not set" if text is None else f"{path[-1]} = {_toml(found[name])}"
        lines.append(f"{shown:<44}  # {name}")
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(lines))


def _toml(value: Any) -> str:
    """Return a TOML value; a JSON string, number or boolean is one."""
    return json.dumps(value, ensure_ascii=False)
