"""What the commands of the feature store share: where it is, and its records as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from app import exits
from app.cli.common import read_settings, safe_text, say
from app.observe.masking import mask_addresses
from app.settings import Settings

if TYPE_CHECKING:
    from models.store.records import FeatureSetRecord
    from models.store.registry import FeatureRegistry

store_option = click.option(
    "--store",
    "location",
    metavar="PLACE",
    help="A folder or an address such as s3://bucket/features; else data_dir/feature-store.",
)


def store_location(settings: Settings, chosen: str | None = None) -> str:
    """Return where the feature store is: the chosen place, or the settings'."""
    return chosen or settings.models.feature_store or str(settings.data_dir / "feature-store")


@contextmanager
def feature_registry(location: str | None) -> Iterator[FeatureRegistry]:
    """Give the registry; what is wrong with it is one line, and exit code 1."""
    from models.predicting.registry_errors import ModelError
    from models.store.registry import FeatureRegistry

    place = store_location(read_settings(), location)
    try:
        yield FeatureRegistry.at(place)
    except (ModelError, ImportError, ValueError) as error:
        say(f"candlewick: {safe_text(mask_addresses(str(error)))}")
        raise SystemExit(exits.FAILURE) from None


def read_tags(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str | None]:
    """Read `team=equities` and `experimental`."""
    pairs = [each.partition("=") for each in values]
    return {name: value if separator else None for name, separator, value in pairs}


def moment(nanoseconds: int) -> str:
    """Return a time as people read it, UTC."""
    return f"{datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def plain(record: Any) -> Any:
    """Return a record as dictionaries, lists and plain values."""
    import msgspec

    return msgspec.to_builtins(record)


def version_text(record: FeatureSetRecord) -> str:
    """Return `returns@1`."""
    return f"{record.name}@{record.version}"


def tags_text(record: FeatureSetRecord) -> str:
    """Return tags in one cell."""
    return ",".join(f"{name}={text}" if text else name for name, text in record.tags.items())
