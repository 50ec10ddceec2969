"""The settings of models: where versions are kept, and which of them predict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from app.setting_types import Duration, Group, Name, as_object, as_parts, written


class ModelSettings(Group):
    """Where versions of models are kept, and how a worker holds them."""

    registry: str | None = Field(
        default=None,
        min_length=1,
        description="folder, or an address that fsspec knows; none: data_dir/models",
    )
    feature_store: str | None = Field(
        default=None,
        min_length=1,
        description="the same for feature sets; none: data_dir/feature-store",
    )
    poll: Duration = written("5s", description="between two looks at the aliases")
    max_loaded: int = Field(default=32, ge=1, le=10_000, description="versions, beside those used")
    max_loaded_bytes: int = Field(default=256 * 1024 * 1024, ge=1)

    @field_validator("poll")
    @classmethod
    def _check_poll(cls, value: int) -> int:
        if value < 100_000_000:
            raise ValueError("expected 100ms or more")
        return value


def _models(value: tuple[str, ...]) -> tuple[str, ...]:
    names = [each.partition("@")[0] for each in value]
    for each in value:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}@\d+[a-z]+", each):
            raise ValueError(f"{each!r}: expected MODEL@INTERVAL, such as returns@1m")
    if len(set(names)) != len(names):
        raise ValueError("a model is named twice")
    return tuple(sorted(value))


def _aliases(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", each):
            raise ValueError(f"{each!r}: expected the name of an alias, such as challenger")
    if len(set(value)) != len(value) or "champion" in value:
        raise ValueError("expected each once, beside the champion")
    return tuple(sorted(value))


class PredictionSettings(Group):
    """What predicts; all of it changes results. docs/models.md explains it."""

    models: Annotated[tuple[str, ...], BeforeValidator(as_parts), AfterValidator(_models)] = Field(
        default=(), description="of the registry, and their bars, such as returns@1m"
    )
    feature_sets: Annotated[tuple[str, ...], BeforeValidator(as_parts)] = Field(
        default=("returns@1",), min_length=1, description="kept warm; versions must be for one"
    )
    challengers: Annotated[tuple[str, ...], BeforeValidator(as_parts), AfterValidator(_aliases)] = (
        Field(default=("challenger",), description="aliases that predict beside the champion")
    )
    shares: Annotated[Mapping[str, int], BeforeValidator(as_object)] = Field(
        default={}, description="of symbols, by alias; without: all are the champion's"
    )
    experiment: Name = Field(default="default", description="another name deals symbols anew")
    alpha: float = Field(default=0.1, gt=0, lt=1, description="share that intervals may miss")
    rate: float = Field(
        default=0.005, ge=0, lt=1, description="by how much a miss moves the next interval's level"
    )
    max_horizon: int = Field(default=240, ge=1, le=10_000, description="of a version, in bars")

    @model_validator(mode="after")
    def _check_shares(self) -> PredictionSettings:
        known = ("champion", *self.challengers)
        wrong = sorted(set(self.shares) - set(known))
        if wrong:
            raise ValueError(f"shares of {', '.join(wrong)}; expected {', '.join(known)}")
        if self.shares and (min(self.shares.values()) < 0 or sum(self.shares.values()) < 1):
            raise ValueError("shares: expected none below 0, and one above")
        return self
