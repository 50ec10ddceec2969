"""Options that say how a user's own CSV or Parquet is read, for all commands that replay."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from app.feeds.mapping import ColumnMapping

Command = TypeVar("Command", bound=Callable[..., Any])


class Assignment(click.ParamType):
    """`price=last`: a name of ours and what it is."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, separator, given = str(value).partition("=")
        if not (name.strip() and separator and given.strip()):
            self.fail(f"{value!r}; expected NAME=VALUE, such as price=last", param, ctx)
        return name.strip(), given.strip()


ASSIGNMENT = Assignment()


def mapping_options(command: Command) -> Command:
    """Add the options of a column mapping; the command gets `mapping`, None without any of them.

    Where the command has an option `--kind` that was not given, it follows the mapping.
    """

    @functools.wraps(command)
    def mapped(
        *args: Any,
        columns: tuple[tuple[str, str], ...],
        constants: tuple[tuple[str, str], ...],
        time_unit: str | None,
        time_zone: str | None,
        delimiter: str | None,
        no_header: bool,
        price_scale: float | None,
        mapping_file: Path | None,
        **rest: Any,
    ) -> Any:
        options: dict[str, Any] = {
            "columns": _distinct("--column", columns),
            "constants": _distinct("--constant", constants),
            "time_unit": time_unit,
            "time_zone": time_zone,
            "delimiter": delimiter,
            "header": False if no_header else None,
            "price_scale": price_scale,
        }
        given = {name: value for name, value in options.items() if value not in (None, {})}
        mapping = _mapping(mapping_file, given) if mapping_file or given else None
        if mapping is not None and "kind" in rest:
            rest["kind"] = _kind(rest["kind"], mapping)
        return command(*args, mapping=mapping, **rest)

    options = [
        click.option(
            "--column",
            "columns",
            type=ASSIGNMENT,
            multiple=True,
            metavar="NAME=COLUMN",
            help="Of one's own CSV or Parquet: its column for one of our names: price=last.",
        ),
        click.option(
            "--constant",
            "constants",
            type=ASSIGNMENT,
            multiple=True,
            metavar="NAME=VALUE",
            help="The same in every record: symbol=AAPL.",
        ),
        click.option(
            "--time-unit",
            type=click.Choice(["s", "ms", "us", "ns", "iso"]),
            help="Of its stamps; without: ns, or ISO 8601 text.",
        ),
        click.option("--time-zone", metavar="ZONE", help="Of stamps without offset: UTC."),
        click.option("--delimiter", metavar="CHARACTER", help="Between its fields: ';' or tab."),
        click.option("--no-header", is_flag=True, help="Columns by position, from 1: price=2."),
        click.option("--price-scale", type=float, help="Prices are divided by it: 10000."),
        click.option(
            "--mapping",
            "mapping_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE.toml",
            help="All of these from a file; options win.",
        ),
    ]
    wrapped: Any = mapped
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def _distinct(option: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    chosen = dict(pairs)
    if len(chosen) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise click.UsageError(f"{option} {twice} is given twice; expected each name once")
    return chosen


def _mapping(file: Path | None, options: dict[str, Any]) -> ColumnMapping:
    from app.feeds.mapping import MappingError, mapping_of

    try:
        return mapping_of(file, options)
    except MappingError as error:
        raise click.UsageError(str(error)) from None


def _kind(kind: str, mapping: ColumnMapping) -> str:
    context = click.get_current_context()
    asked = context.get_parameter_source("kind") not in (None, ParameterSource.DEFAULT)
    if asked and kind != mapping.kind:
        raise click.UsageError(
            f"--kind {kind}, but the mapped columns are of {mapping.kind}; expected the same"
        )
    return mapping.kind
