"""What groups of settings are made of: their base class, and types that are written as text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.durations import parse_duration


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


def written(text: str, **more: Any) -> Any:
    """Give a field a default in the text form a user would write."""
    return Field(text, **more)


#: Nanoseconds; written `900ms`, `1s`, `15m`.
Duration = Annotated[int, BeforeValidator(as_duration), Field(ge=0)]
#: Of these, with commas between them.
Durations = Annotated[tuple[Duration, ...], BeforeValidator(as_durations)]
