"""What groups of settings are made of: their base class, and types that are written as text."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.durations import parse_duration

#: Of all names in the environment.
PREFIX = "CANDLEWICK_"


class Group(BaseModel):
    """Base of the nested groups."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def as_duration(value: Any) -> Any:
    """Read a duration where it is text."""
    return parse_duration(value) if isinstance(value, str) else value


def as_durations(value: Any) -> Any:
    """Split at commas what is text, as `as_parts`; each part is then a duration."""
    return as_parts(value)


def as_parts(value: Any) -> Any:
    """Split at commas what is text."""
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def as_object(value: Any) -> Any:
    """Read JSON where it is text: what is an object in the file is that in the environment."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON: {error}") from None


def written(text: str, **more: Any) -> Any:
    """Give a field a default in the text form a user would write."""
    return Field(text, **more)


#: Nanoseconds; written `900ms`, `1s`, `15m`.
Duration = Annotated[int, BeforeValidator(as_duration), Field(ge=0)]
#: Of these, with commas between them.
Durations = Annotated[tuple[Duration, ...], BeforeValidator(as_durations)]
#: Of a deployment, a worker, an experiment: parts of topics' and folders' names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
