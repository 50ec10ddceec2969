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
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
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

from app.durations import format_duration, parse_duration
from app.observe.masking import MASK, mask_addresses

PREFIX = "CANDLEWICK_"
#: Read before the settings are; not settings themselves.
BOOTSTRAP_NAMES = frozenset({"CANDLEWICK_CONFIG"})
DAY = 86_400_000_000_000
#: Names of secrets, also mistyped ones.
_LIKE_A_SECRET = re.compile(r"pass|pwd|secret|token|credential|key", re.IGNORECASE)


class SettingsError(ValueError):
    """A setting that stops the start: its message has name, value and expectation."""


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def _split_names(value: Any) -> Any:
    return tuple(_split(value))


def _object(value: Any) -> Any:
    """What is an object in the file is JSON in the environment."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON: {error}") from None


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


def _agents(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len(set(value)) != len(value):
        raise ValueError("expected at least one agent, each once")
    return tuple(sorted(value))


def _default(text: str, **more: Any) -> Any:
    """Give a field a default in the text form a user would write."""
    return Field(text, **more)


#: Nanoseconds; written `900ms`, `1s`, `15m`.
Duration = Annotated[int, BeforeValidator(_duration), Field(ge=0)]
Intervals = Annotated[tuple[Duration, ...], BeforeValidator(_split), AfterValidator(_intervals)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
TopicPrefix = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]{0,63}\.)?$")]


AgentName = Literal["bars", "quotes", "indicators"]


class Group(BaseModel):
    """Base of the nested groups."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _broker(name: str) -> str:
    return f"{PREFIX}BROKER__{name.upper()}"


class BrokerSettings(Group):
    """Where Kafka is and how the clients talk to it."""

    url: str | None = Field(
        default=None, pattern=r"^kafka://[^/]+$", description="none: the embedded broker is used"
    )
    folder: Path | None = Field(
        default=None, description="of the embedded broker; none: data_dir/broker"
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="of the embedded broker; 0: a free one"
    )
    session_timeout: Duration = _default("8s", description="a dead worker is noticed after it")
    heartbeat_interval: Duration = _default(
        "300ms", description="how soon workers learn of a rebalance"
    )
    fetch_max_wait: Duration = _default("100ms")
    fetch_max_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="a partition and fetch"
    )
    transaction_timeout: Duration = _default("10s")
    check_crcs: bool = True
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    password_file: Path | None = Field(default=None, description="holds the password alone")
    ca_file: Path | None = Field(
        default=None, description="PEM, whom to trust; none: the system's authorities"
    )
    certificate_file: Path | None = Field(
        default=None, description="PEM, of this client, where the broker asks for one"
    )
    key_file: Path | None = Field(
        default=None, description="PEM; none: the key is in certificate_file"
    )
    key_password: SecretStr | None = None
    key_password_file: Path | None = Field(default=None, description="holds the password alone")

    @model_validator(mode="after")
    def _check_security(self) -> BrokerSettings:
        """Refuse what would connect otherwise than its writer meant; files are read later."""
        for secret in ("password", "key_password"):
            value: SecretStr | None = getattr(self, secret)
            if value is not None and not value.get_secret_value():
                raise ValueError(f"{_broker(secret)} is empty; expected a password, or no setting")
            if value is not None and getattr(self, f"{secret}_file") is not None:
                raise ValueError(
                    f"{_broker(secret)} and {_broker(secret + '_file')} are both set; expected one"
                )
        protocol = self.security_protocol
        sasl, encrypted = protocol.startswith("SASL_"), protocol.endswith("SSL")
        if protocol != "PLAINTEXT" and self.url is None:
            raise ValueError(
                f"{_broker('url')} is not set; expected kafka://host:port with "
                f"{_broker('security_protocol')}={protocol!r}: the embedded broker has PLAINTEXT "
                "alone"
            )
        if sasl and (self.username is None or not (self.password or self.password_file)):
            lacking = "username" if self.username is None else "password"
            other = "" if lacking == "username" else f" (or {_broker('password_file')})"
            raise ValueError(
                f"{_broker(lacking)}{other} is not set; expected with "
                f"{_broker('security_protocol')}={protocol!r}"
            )
        self._refuse_idle(("username", "password", "password_file"), sasl, "SASL_SSL")
        files = ("ca_file", "certificate_file", "key_file", "key_password", "key_password_file")
        self._refuse_idle(files, encrypted, "SSL or SASL_SSL")
        if self.certificate_file is None:
            of_key = ("key_file", "key_password", "key_password_file")
            for name in (name for name in of_key if getattr(self, name) is not None):
                raise ValueError(f"{_broker(name)} is set; expected {_broker('certificate_file')}")
        return self

    def _refuse_idle(self, names: tuple[str, ...], used: bool, expected: str) -> None:
        for name in (name for name in names if getattr(self, name) is not None and not used):
            raise ValueError(
                f"{_broker(name)} is set, and would not be used with "
                f"{_broker('security_protocol')}={self.security_protocol!r}; expected {expected}"
            )


class TopicSettings(Group):
    """How topics are made; a live topic that differs stops the start."""

    partitions: int = Field(default=4, ge=1, le=1024)
    replication: int = Field(default=1, ge=1)
    min_insync_replicas: int = Field(default=1, ge=1)
    retention: Duration = _default("7d")
    max_message_bytes: int = Field(default=1024 * 1024, ge=16 * 1024)
    compression: Literal["none", "lz4", "zstd"] = "lz4"


#: The group of an agent's settings, where it has one besides those of the bars.
AGENT_GROUPS = {"indicators": "indicators"}
DEFAULT_INDICATORS = (
    "SMA(20),SMA(50),EMA(12),EMA(26),RSI(14),MACD(12,26,9),BOLLINGER(20,2),ATR(14),VWAP(14),"
    "SESSION_VWAP,MOMENTUM(10),VOLATILITY(20)"
)
#: Not part of the hash of deployments that were made before there was one.
RECALL_HORIZON = "1d"


class BarSettings(Group):
    """What the bars agent computes. All of it changes results."""

    intervals: Intervals = _default("1s,10s,1m,5m,15m")
    grace: Duration = _default("1s")
    correction_horizon: Duration = _default("15m")
    recall_horizon: Duration = _default(
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
    clock_ahead: Duration = _default("1s", description="a record moves the clock this far ahead")
    max_ahead: Duration = _default("10s", description="beyond the append time: dead")
    max_symbols: int = Field(default=100_000, ge=1, description="a partition")


class IndicatorSettings(Group):
    """What the indicators agent computes. All of it changes results of its own."""

    default: str = Field(
        default=DEFAULT_INDICATORS, description="of each bar size that by_interval does not name"
    )
    by_interval: Annotated[dict[str, str], BeforeValidator(_object)] = Field(
        default={}, description='bar size to indicators: {"1m": "EMA(12),RSI(14)", "1s": ""}'
    )
    modules: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        default=(), description="Python modules with indicators of your own"
    )


class CheckpointSettings(Group):
    """When a checkpoint is due; never what it holds."""

    output_delay: Duration = _default("50ms", description="after an output is pending")
    row_delay: Duration = _default("1s", description="after a row has changed")
    max_delay: Duration = _default("1s", description="under backlog")
    max_pending_bytes: int = Field(
        default=64 * 1024 * 1024, description="outputs waiting: intake pauses"
    )


class ViewSettings(Group):
    """Closed bars kept beside the state, for pages and API; they change no results."""

    enabled: bool = True
    bars_per_interval: int = Field(
        default=500, ge=1, le=100_000, description="newest windows kept, per symbol and interval"
    )
    lookback: Duration = _default("6h", description="what a new owner reads again of the bars")


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
    agents: Annotated[tuple[AgentName, ...], BeforeValidator(_split), AfterValidator(_agents)] = (
        "bars",
        "quotes",
    )
    data_dir: Path = Path("data")
    broker: BrokerSettings = BrokerSettings()
    topics: TopicSettings = TopicSettings()
    bars: BarSettings = BarSettings()
    indicators: IndicatorSettings = IndicatorSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    views: ViewSettings = ViewSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

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
        own = getattr(self, AGENT_GROUPS[agent]).model_dump(mode="json")
        return _hash({"before": self.results_hash, agent: own})


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
