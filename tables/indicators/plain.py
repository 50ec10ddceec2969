"""The bar itself, where others want it beside the indicators."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.base import Indicator


class Close(Indicator):
    """The close. What reads indicators knows the price by it."""

    NAME = "CLOSE"
    TITLE = "Close of the bar"
    SOURCE = "the bar"

    def __init__(self) -> None:
        super().__init__(warm_up=1)

    def _step(self, bar: BarRecord) -> float | None:
        return bar.close


class Volume(Indicator):
    """The volume."""

    NAME = "VOLUME"
    TITLE = "Volume of the bar"
    SOURCE = "the bar"

    def __init__(self) -> None:
        super().__init__(warm_up=1)

    def _step(self, bar: BarRecord) -> float | None:
        return bar.volume
