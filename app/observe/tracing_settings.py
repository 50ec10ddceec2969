"""The group of settings of the traces. None changes results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from app.setting_types import Duration, Group, written

Endpoint = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]


class TracingSettings(Group):
    """Traces by OpenTelemetry, sent by OTLP over HTTP; docs/metrics.md says what is in them."""

    endpoint: Endpoint | None = Field(
        default=None, description="of a collector, http://127.0.0.1:4318; none: no traces"
    )
    ratio: float = Field(
        default=0.05, ge=0, le=1, description="share of the checkpoints that are traced"
    )
    headers: SecretStr | None = Field(
        default=None, description="NAME=VALUE,NAME=VALUE: what a collector knows us by"
    )
    headers_file: Path | None = Field(default=None, description="holds them alone")
    ca_file: Path | None = Field(default=None, description="PEM, whom to trust; none: the system's")
    queue: int = Field(
        default=2048, ge=16, le=1_000_000, description="spans that wait; beyond, the oldest go"
    )
    delay: Duration = written("2s", description="between two requests to the collector")
    timeout: Duration = written("5s", description="of a request with its retries")
