"""JSON Schema of the topics' records, from the pydantic contracts."""

from __future__ import annotations

from typing import Any, Final

from app.contracts.features import Features
from app.contracts.monitoring import PredictionMonitoring
from app.contracts.pairs import Leg, LegProgress, PairStatistics
from app.contracts.portfolio import (
    ClosingPrice,
    Limit,
    PortfolioUpdate,
    PortfolioValue,
    Position,
    Progress,
    Transaction,
)
from app.contracts.predictions import AliasMove, Prediction, PredictionOutcome
from app.contracts.quality import QualityEvent, QualitySummary
from app.contracts.records import (
    ActivityBar,
    Anomaly,
    Bar,
    Clock,
    Contract,
    Correction,
    Flush,
    Historical,
    Indicators,
    Quote,
    QuoteBar,
    Trade,
)

RECORDS: Final[dict[str, type[Contract]]] = {
    "trade": Trade,
    "quote": Quote,
    "clock": Clock,
    "historical": Historical,
    "flush": Flush,
    "correction": Correction,
    "bar": Bar,
    "activity_bar": ActivityBar,
    "indicators": Indicators,
    "anomaly": Anomaly,
    "features": Features,
    "leg": Leg,
    "leg_progress": LegProgress,
    "pair": PairStatistics,
    "transaction": Transaction,
    "portfolio_update": PortfolioUpdate,
    "closing_price": ClosingPrice,
    "progress": Progress,
    "position": Position,
    "portfolio_value": PortfolioValue,
    "limit": Limit,
    "quality_event": QualityEvent,
    "quality_summary": QualitySummary,
    "alias_move": AliasMove,
    "prediction": Prediction,
    "prediction_outcome": PredictionOutcome,
    "prediction_monitoring": PredictionMonitoring,
    "quote_bar": QuoteBar,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """One JSON Schema (draft 2020-12) a record, by its name in `RECORDS`.

    They state types, bounds and the symbol's alphabet; that conditions are of our vocabulary,
    and what needs several fields or the partition's state, is app/README.md's (*Parse*).
    """
    return {name: record.model_json_schema() for name, record in RECORDS.items()}
