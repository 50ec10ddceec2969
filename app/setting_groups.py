"""The groups of settings: what can be set, its bounds and its default.

`app/settings.py` reads them; one group for each part of a deployment that is set by itself. Those
of the broker, of models and of what is beside the engine (sinks, notifications, traces) have files
of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from app.durations import format_duration
from app.setting_types import Duration, Durations, Group, as_object, as_parts, written

DAY = 86_400_000_000_000


def _intervals(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value:
        raise ValueError("at least one interval is needed")
    for length in value:
        if not 100_000_000 <= length < DAY or DAY % length:
            raise ValueError(
                f"{format_duration(length)} is not an interval: expected 100ms to 12h, "
                "a whole part of a day"
            )
    if len(set(value)) != len(value):
        raise ValueError("an interval is named twice")
    return tuple(sorted(value))


def distinct_agents(value: tuple[str, ...]) -> tuple[str, ...]:
    """Return the agents, sorted: their order means nothing."""
    if not value or len(set(value)) != len(value):
        raise ValueError("expected at least one agent, each once")
    return tuple(sorted(value))


Intervals = Annotated[Durations, AfterValidator(_intervals)]
TopicPrefix = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,63}\.)?$")]
AgentName = Literal[
    "bars",
    "quotes",
    "indicators",
    "features",
    "quote_features",
    "quality",
    "quote_quality",
    "routing",
    "pairs",
    "transactions",
    "portfolio",
    "anomalies",
    "quote_anomalies",
    "price_alerts",
    "alerts",
    "predictions",
]
AgentNames = Annotated[
    tuple[AgentName, ...], BeforeValidator(as_parts), AfterValidator(distinct_agents)
]


class TopicSettings(Group):
    """How topics are made; a live topic that differs stops the start."""

    partitions: int = Field(default=4, ge=1, le=1024)
    replication: int = Field(default=1, ge=1)
    min_insync_replicas: int = Field(default=1, ge=1)
    retention: Duration = written("7d")
    max_message_bytes: int = Field(default=1024 * 1024, ge=16 * 1024)
    compression: Literal["none", "lz4", "zstd"] = "lz4"


#: The groups of an agent's settings, where it has some besides those of the bars.
AGENT_GROUPS: Mapping[str, tuple[str, ...]] = {
    "indicators": ("indicators", "markets"),
    "features": ("features", "markets"),
    "quote_features": ("features", "markets"),
    "quality": ("quality", "markets", "raising"),
    "quote_quality": ("quality", "markets", "raising"),
    "routing": ("pairs", "portfolio"),
    "pairs": ("pairs",),
    "transactions": ("portfolio",),
    "portfolio": ("portfolio", "raising"),
    "anomalies": ("anomalies", "raising"),
    "quote_anomalies": ("anomalies", "raising"),
    "alerts": ("alerts",),
    "predictions": ("predictions", "indicators", "markets"),
}
DEFAULT_INDICATORS = (
    "SMA(20),SMA(50),EMA(12),EMA(26),RSI(14),MACD(12,26,9),BOLLINGER(20,2),ATR(14),VWAP(14),"
    "SESSION_VWAP,MOMENTUM(10),VOLATILITY(20)"
)
#: Not part of the hash of deployments that were made before there was one.
RECALL_HORIZON = "1d"


class BarSettings(Group):
    """What the bars agent computes. All of it changes results."""

    intervals: Intervals = written("1s,10s,1m,5m,15m")
    grace: Duration = written("1s")
    correction_horizon: Duration = written("15m")
    recall_horizon: Duration = written(
        RECALL_HORIZON, description="trades that a venue may still cancel or correct"
    )
    policy: Literal["all", "sip", "algoseek"] = "all"
    session_end: str = Field(
        default="16:00", pattern=r"^\d\d:\d\d$", description="of the algoseek policy"
    )
    session_timezone: str = "America/New_York"
    fill_forward: bool = False
    fill_forward_limit: int = Field(
        default=900, ge=1, description="bars filled in a row, per interval"
    )
    earliest_event_time: int = Field(default=631_152_000_000_000_000, description="1990-01-01, ns")
    clock_ahead: Duration = written("1s", description="a record moves the clock this far ahead")
    max_ahead: Duration = written("10s", description="beyond the append time: dead")
    max_symbols: int = Field(default=100_000, ge=1, description="a partition")
    activity: Annotated[tuple[str, ...], BeforeValidator(as_parts)] = Field(
        default=(), description="bars by activity: tick:1000,volume:50000,dollar:1000000 ..."
    )
    activity_carry: bool = Field(
        default=False, description="what a bar by activity has too much counts for the next"
    )


class IndicatorSettings(Group):
    """What the indicators agent computes. All of it changes results of its own."""

    default: str = Field(
        default=DEFAULT_INDICATORS, description="of each bar size that by_interval does not name"
    )
    by_interval: Annotated[dict[str, str], BeforeValidator(as_object)] = Field(
        default={}, description='bar size to indicators: {"1m": "EMA(12),RSI(14)", "1s": ""}'
    )
    modules: Annotated[tuple[str, ...], BeforeValidator(as_parts)] = Field(
        default=(), description="Python modules with indicators of your own"
    )


class MarketSettings(Group):
    """When markets are open."""

    calendar: str = Field(
        default="24/7", description="of each symbol that `instruments` does not name, such as XNYS"
    )
    instruments: Path | None = Field(
        default=None, description="TOML: calendar, tick size, splits of symbols"
    )


class FeatureSettings(Group):
    """What the features agents compute, of trades and of quotes."""

    window: Duration = written("5m", description="of the sliding statistics")
    slide: Duration = written("1m")
    recent: Duration = written("1m", description="end of the window that trends are measured by")
    gap: Duration = written("5m", description="without a record: a session of activity ends")
    max_pending: int = Field(
        default=100_000, ge=1, description="records that wait for the grace, a partition"
    )


class PairSettings(Group):
    """Symbols that are compared with each other, bar by bar."""

    pairs: Annotated[tuple[str, ...], BeforeValidator(as_parts)] = Field(
        default=(), description="such as SPY/IBM@1m"
    )
    window: int = Field(default=60, ge=2, le=10_000, description="bars of the statistics")
    hedge: float = Field(
        default=1.0, gt=0, le=1e6, description="of the second against one of the first"
    )
    max_waiting: int = Field(default=10_000, ge=1, le=100_000, description="bars of one leg alone")


class PortfolioSettings(Group):
    """Accounts that are priced by the bars; tables/portfolio explains the rules."""

    enabled: bool = Field(
        default=False, description="bars are prices: with the agents transactions and portfolio"
    )
    pricing_interval: Duration = written(
        "1m", description="of the bars whose closes are prices, and between valuations"
    )
    cost_basis: Literal["fifo", "average"] = Field(
        default="fifo", description="what a sale takes: the oldest lots, or all at their average"
    )
    currency: str = Field(default="USD", min_length=1, max_length=64, description="of all money")
    limits: Annotated[dict[str, float], BeforeValidator(as_object)] = Field(
        default={}, description='of each account: {"max_leverage": 2, "max_session_loss": 5000}'
    )
    session_end: str = Field(
        default="00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="of max_session_loss"
    )
    session_timezone: str = "UTC"
    grace: Duration = written("1s", description="disorder of transactions that is waited for")
    mark_interval: Duration = written(
        "1s", description="of event time, after which inputs tell how far they are"
    )
    patience: Duration = written(
        "2m", description="nothing waits longer for an input partition that is silent"
    )
    late_horizon: Duration = written(
        "1d", description="so far behind, a record still counts, as a correction"
    )
    identifier_horizon: Duration = written("2d", description="ids are remembered for so long")
    max_held: int = Field(default=100_000, ge=1, description="records waiting, a partition")
    max_identifiers: int = Field(default=200_000, ge=1, description="a partition")
    max_accounts: int = Field(default=10_000, ge=1, description="a partition")
    max_symbols: int = Field(default=100_000, ge=1, description="with a price")
    max_positions: int = Field(default=1_000, ge=1, le=100_000, description="of an account")
    max_lots: int = Field(default=500, ge=1, le=100_000, description="of a position")


class AnomalySettings(Group):
    """How bars and quote bars are scored; models/anomalies explains the figures."""

    intervals: Durations = written("1s", description="bar sizes that are scored")
    false_alarms_per_day: float = Field(default=1.0, gt=0, description="a symbol and bar size")
    session_gap: Duration = written("1h", description="a longer silence lies between sessions")
    warm_up: int = Field(default=300, ge=150, description="bars before the first score")
    publish: Literal["anomalies", "all"] = Field(
        default="anomalies", description="or the score of every bar"
    )
    price_share: float = Field(default=0.05, gt=0, description="rule: from the moving mean")
    size_times: float = Field(default=3.0, gt=0, description="rule: times the moving mean")
    overbought: float = Field(default=70.0, ge=50, le=100, description="rule: RSI")
    oversold: float = Field(default=30.0, ge=0, le=50, description="rule: RSI")


class QualitySettings(Group):
    """What the quality agents tell of; the defaults are explained in tables/quality."""

    gaps: Durations = written(
        "500ms,5s,30s", description="open time without a record: counted from each length on"
    )
    gap_event: Duration = written("5s", description="told from this length on")
    gap_factor: float = Field(default=10.0, ge=0, description="and so often the usual interval")
    stale_after: Duration = written("30s")
    outlier_window: int = Field(default=61, ge=5, le=1001)
    outlier_warm_up: int = Field(default=31, ge=5, le=1001)
    outlier_mean_factor: float = Field(default=6.0, gt=0)
    outlier_median_factor: float = Field(default=10.0, gt=0)
    outlier_floor: float = Field(default=0.002, ge=0, description="share of the price")
    outlier_ticks: float = Field(default=3.0, ge=0, description="tick sizes of the instrument")
    outlier_run: int = Field(default=20, ge=2, description="in a row: a new level")
    duplicate_window: int = Field(default=128, ge=1, le=100_000, description="ids a symbol")
    consecutive: Annotated[tuple[str, ...], BeforeValidator(as_parts)] = Field(
        default=(), description="sources whose sequence grows by one; * is all"
    )
    disagreement: float = Field(default=0.005, gt=0, description="share, of two sources' prices")
    disagreement_for: Duration = written("5s")
    disagreement_fresh: Duration = written("30s")
    completeness: float = Field(default=0.998, gt=0, le=1, description="goal of a session")


class CheckpointSettings(Group):
    """When a checkpoint is due; never what it holds."""

    output_delay: Duration = written("50ms", description="after an output is pending")
    row_delay: Duration = written("1s", description="after a row has changed")
    max_delay: Duration = written("1s", description="under backlog")
    max_pending_bytes: int = Field(
        default=64 * 1024 * 1024, description="outputs waiting: intake pauses"
    )


class ViewSettings(Group):
    """Closed bars kept beside the state, for pages and API; they change no results."""

    enabled: bool = True
    bars_per_interval: int = Field(
        default=500, ge=1, le=100_000, description="newest windows kept, per symbol and interval"
    )
    lookback: Duration = written("6h", description="what a new owner reads again of the bars")


class WebSettings(Group):
    """Faust's web server: tables, metrics, health."""

    host: str = Field(default="127.0.0.1", min_length=1, description="listened on")
    port: int = Field(default=6066, ge=0, le=65535)
    enabled: bool = True
    open_without_authentication: bool = Field(
        default=False, description="lets `host` be other than loopback: whoever reaches it reads"
    )
    advertised_host: str | None = Field(
        default=None,
        pattern=r"^[0-9A-Za-z_.:-]+$",
        description="what other workers call; none: `host`, or the machine's name for all of them",
    )


class LogSettings(Group):
    """Structured logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
    per_minute: int = Field(
        default=120, ge=0, description="lines of one event; what is beyond is counted; 0: all"
    )
