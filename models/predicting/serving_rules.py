"""What holds of a symbol or of a moment, however often it is asked: remembered, bounded."""

from __future__ import annotations

from collections.abc import Mapping

from models.predicting.building import within_session
from models.predicting.predictor import assign
from models.predicting.serving_models import Serving
from tables.markets import AlwaysOpen, Market

#: Symbols, and versions of them, of which something is remembered.
MAX_SYMBOLS = 100_000
#: Ends of bars in markets; those of a fetch are few, and nobody asks for older ones.
MAX_MOMENTS = 1_000


class Rules:
    """Which alias serves a symbol, which versions fit it, which spans lie in one session.

    Args:
        shares: of symbols, by alias; empty: nothing is dealt.
        experiment: another name deals the symbols anew.
    """

    def __init__(self, shares: Mapping[str, int], experiment: str) -> None:
        self._shares, self._experiment = shares, experiment
        self._dealt: dict[str, str] = {}
        self._fitting: dict[tuple[str, str], bool] = {}
        self._within: dict[tuple[Market, int, int, int], bool] = {}

    def alias_of(self, symbol: str) -> str | None:
        """The alias that shares give a symbol; None where there are none."""
        if not self._shares:
            return None
        found = self._dealt.get(symbol)
        if found is None:
            if len(self._dealt) >= MAX_SYMBOLS:
                self._dealt.clear()
            found = self._dealt[symbol] = assign(symbol, self._experiment, self._shares)
        return found

    def fits(self, symbol: str, market: Market | None, serving: Serving) -> bool:
        """Whether a version was not trained under another calendar than the symbol's."""
        key = (symbol, serving.sha256)
        found = self._fitting.get(key)
        if found is None:
            if len(self._fitting) >= MAX_SYMBOLS:
                self._fitting.clear()
            found = self._fitting[key] = serving.fits(symbol, market)
        return found

    def within_session(self, end: int, length: int, ahead: int, market: Market | None) -> bool:
        """As `building.within_session`, where it takes some time."""
        if market is None or type(market) is AlwaysOpen:
            return True
        key = (market, end, length, ahead)
        found = self._within.get(key)
        if found is None:
            if len(self._within) >= MAX_MOMENTS:
                self._within.clear()
            found = self._within[key] = within_session(end, length, ahead, market)
        return found
