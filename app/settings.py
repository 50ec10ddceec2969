"""All settings, in one place: environment `CANDLEWICK_...` (nesting `__`) over one TOML file.

Order: environment, then the file named by `CANDLEWICK_CONFIG` (or `candlewick.toml` beside
the process), then the defaults here. An unknown name, in the environment or in the file,
stops the start with name and value. Settings are fixed for the life of a deployment; those
that change results are part of `results_hash`, which each checkpoint carries.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.durations import parse_duration
from app.notify.settings import (
    AlertSettings,
    EmailSettings,
    NotifySettings,
    OpsgenieSettings,
    PagerDutySettings,
    PriceAlertSettings,
    RaisingSettings,
    SlackSettings,
    WebhookSettings,
)
from app.observe.masking import MASK, mask_addresses
from app.observe.tracing_settings import TracingSettings
from app.setting_groups import (
    AGENT_GROUPS,
    RECALL_HORIZON,
    AgentNames,
    AnomalySettings,
    BarSettings,
    CheckpointSettings,
    FeatureSettings,
    IndicatorSettings,
    LogSettings,
    MarketSettings,
    PairSettings,
    PortfolioSettings,
    QualitySettings,
    TopicPrefix,
    TopicSettings,
    ViewSettings,
    WebSettings,
)
from app.setting_groups_broker import BrokerSettings
from app.setting_groups_models import ModelSettings, PredictionSettings
from app.setting_types import PREFIX, Group, Name
from app.sinks.settings import (
    ArchiveSettings,
    InfluxSettings,
    PostgresSettings,
    RedisSettings,
    SinkSettings,
)

__all__ = ["BOOTSTRAP_NAMES", "PREFIX", "Settings", "SettingsError", "load_settings"]

#: Read before the settings are; not settings themselves.
BOOTSTRAP_NAMES = frozenset({"CANDLEWICK_CONFIG"})
#: Names of secrets, also mistyped ones.
_LIKE_A_SECRET = re.compile(r"pass|pwd|secret|token|credential|key", re.IGNORECASE)


class SettingsError(ValueError):
    """A setting that stops the start: its message has name, value and expectation."""


class Settings(BaseSettings):
    """The effective settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        case_sensitive=False,
        enable_decoding=False,
    )

    deployment: Name = "default"
    worker: Name = Field(default="worker", description="a folder and a name in the logs")
    topic_prefix: TopicPrefix = Field(default="", description="of a cluster, ends with a dot")
    agents: AgentNames = ("bars", "quotes")
    data_dir: Path = Path("data")
    broker: BrokerSettings = BrokerSettings()
    topics: TopicSettings = TopicSettings()
    bars: BarSettings = BarSettings()
    markets: MarketSettings = MarketSettings()
    indicators: IndicatorSettings = IndicatorSettings()
    features: FeatureSettings = FeatureSettings()
    pairs: PairSettings = PairSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    anomalies: AnomalySettings = AnomalySettings()
    models: ModelSettings = ModelSettings()
    predictions: PredictionSettings = PredictionSettings()
    quality: QualitySettings = QualitySettings()
    raising: RaisingSettings = RaisingSettings()
    price_alerts: PriceAlertSettings = PriceAlertSettings()
    alerts: AlertSettings = AlertSettings()
    notify: NotifySettings = NotifySettings()
    slack: SlackSettings = SlackSettings()
    email: EmailSettings = EmailSettings()
    webhook: WebhookSettings = WebhookSettings()
    pagerduty: PagerDutySettings = PagerDutySettings()
    opsgenie: OpsgenieSettings = OpsgenieSettings()
    sinks: SinkSettings = SinkSettings()
    archive: ArchiveSettings = ArchiveSettings()
    influx: InfluxSettings = InfluxSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    views: ViewSettings = ViewSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.bars.grace > self.bars.correction_horizon:
            raise ValueError("bars.grace must not exceed bars.correction_horizon")
        if self.topics.min_insync_replicas > self.topics.replication:
            raise ValueError("topics.min_insync_replicas must not exceed topics.replication")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A command's options first, then the environment, then the TOML file."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=_configuration_file())
        return (init_settings, env_settings, toml)

    @cached_property
    def results_hash(self) -> str:
        """Hash of every setting that changes results, for the checkpoint's marker."""
        bars = self.bars.model_dump(mode="json")
        if self.bars.recall_horizon == parse_duration(RECALL_HORIZON):
            del bars["recall_horizon"]
        if not self.bars.activity:
            del bars["activity"], bars["activity_carry"]
        chosen = {
            "bars": bars,
            "partitions": self.topics.partitions,
            "max_message_bytes": self.topics.max_message_bytes,
        }
        return _hash(chosen)

    def hash_of(self, agent: str) -> str:
        """Hash of every setting that changes an agent's results: its own, and those behind it."""
        if agent not in AGENT_GROUPS:
            return self.results_hash
        own = {name: getattr(self, name).model_dump(mode="json") for name in AGENT_GROUPS[agent]}
        if not self.portfolio.enabled:
            # Then no bar is a price.
            own.pop("portfolio", None)
        if self.markets.instruments is not None and "markets" in own:
            # What the file says counts, not where it is. That it can be read is the agent's to say.
            path = self.markets.instruments
            content = path.read_bytes() if path.is_file() else b""
            own["markets"]["instruments"] = hashlib.sha256(content).hexdigest()
        if agent == "predictions":
            own["features"] = _feature_labels(self.predictions.feature_sets)
        return _hash({"before": self.results_hash, **own})


def _feature_labels(written: Sequence[str]) -> list[str]:
    """Names, versions and hashes of feature sets: other code of one makes other predictions."""
    # Only where there are predictions.
    from models.predicting.features_plan import FeatureSetError
    from models.predicting.features_registry import find_feature_set

    labels = []
    for each in written:
        try:
            labels.append(find_feature_set(each).plan().label)
        except FeatureSetError:
            # That there is none is the agent's to say.
            labels.append(each)
    return labels


def _hash(chosen: dict[str, Any]) -> str:
    text = json.dumps(chosen, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unknown_environment_names() -> list[str]:
    """Names `CANDLEWICK_...` that no setting answers to: pydantic-settings ignores these."""
    known: set[str] = set(BOOTSTRAP_NAMES)
    for name, field in Settings.model_fields.items():
        known.add(f"{PREFIX}{name}".upper())
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Group):
            known.update(f"{PREFIX}{name}__{inner}".upper() for inner in annotation.model_fields)
    return sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )


def _configuration_file() -> Path:
    return Path(os.environ.get("CANDLEWICK_CONFIG", "candlewick.toml"))


def _is_secret(path: tuple[str, ...]) -> bool:
    """Whether a path names a secret, or a group that holds one."""
    field = Settings.model_fields.get(path[0]) if path else None
    group = None if field is None else field.annotation
    if not (isinstance(group, type) and issubclass(group, Group)):
        return False
    inner = group.model_fields if len(path) == 1 else {path[1]: group.model_fields.get(path[1])}
    return any(one is not None and SecretStr in get_args(one.annotation) for one in inner.values())


def _shown(path: tuple[str, ...], value: Any) -> str:
    """Return a refused value as text; a secret, also under a mistyped name, is masked."""
    if _is_secret(path) or _LIKE_A_SECRET.search(path[-1] if path else ""):
        return repr(MASK)
    return mask_addresses(repr(value))


def load_settings(**overrides: Any) -> Settings:
    """Read the effective settings.

    Args:
        overrides: values above the environment and the file, for commands with options.

    Raises:
        SettingsError: one line a fault, each with name, value and expectation.
    """
    unknown = _unknown_environment_names()
    if unknown:
        lines = [f"{name}={_shown((name,), os.environ[name])}: unknown setting" for name in unknown]
        raise SettingsError(
            "; ".join(lines) + "; expected a name that `candlewick settings` prints"
        )
    path = _configuration_file()
    if "CANDLEWICK_CONFIG" in os.environ and not path.is_file():
        raise SettingsError(f"CANDLEWICK_CONFIG={str(path)!r}: no such file; expected a TOML file")
    try:
        return Settings(**overrides)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: expected TOML: {error}") from None
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            place = tuple(str(part) for part in fault["loc"])
            name = "__".join(place)
            message = str(fault["msg"]).removeprefix("Value error, ")
            if fault["type"] == "value_error" and isinstance(fault["input"], dict):
                # Of a whole group: the message names its settings.
                lines.append(message)
                continue
            if fault["type"] == "extra_forbidden":
                message = "unknown setting; expected a name that `candlewick settings` prints"
            lines.append(f"{PREFIX}{name.upper()}={_shown(place, fault['input'])}: {message}")
        raise SettingsError("; ".join(lines)) from None
