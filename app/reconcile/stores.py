"""What a store has that a sink writes bars into: the archive, InfluxDB."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.reconcile.batch import Values
from app.reconcile.compare import Drift
from app.reconcile.judging import Key, Span
from app.settings import Settings

#: What bars are compared with; the topic is no store.
TOPIC, ARCHIVE, INFLUX = AGAINST = ("topic", "archive", "influx")


@dataclass(frozen=True)
class Held:
    """A part of a store's bars: the highest revisions, each bar in one part alone.

    Attributes:
        copies: how many rows or points too many there are of a bar.
    """

    bars: Mapping[Key, Values]
    copies: Mapping[Key, int] = field(default_factory=dict)


class Store(Protocol):
    """The bars of one agent in a store."""

    name: str

    async def positions(self) -> Mapping[int, int]:
        """Return the offset by partition of the bars' topic before which all is in the store.

        A partition that is left out has nothing there. Bars are read as they are then, or later.

        Raises:
            RunError: the store cannot be read.
        """

    def bars(self, span: Span, cuts: Sequence[int]) -> AsyncIterator[Held]:
        """Yield the bars of the span, part by part; after `positions`.

        Args:
            cuts: starts in ns, ascending, between which there are about as many bars as should be
                in memory at once.

        Raises:
            RunError: the store cannot be read.
        """

    def notes(self, drift: Drift) -> list[str]:
        """Return what a reader of the result should know of the store."""


def make_store(settings: Settings, agent: str, against: str, location: str | None) -> Store | None:
    """Return what bars are compared with; None for the topic. Nothing is asked yet.

    Args:
        location: of the archive; None: the deployment's.

    Raises:
        RunError: the archive's package is missing.
        SettingsError: InfluxDB's address or token is not set.
    """
    if against == ARCHIVE:
        from app.reconcile.archived import ArchivedBars

        return ArchivedBars(settings, agent, location)
    if against == INFLUX:
        from app.reconcile.influx import InfluxBars

        return InfluxBars(settings, agent)
    return None
