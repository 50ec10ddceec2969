"""Effective settings as `CANDLEWICK_...` text: for a worker's environment, and to be shown.

Every setting has exactly one name and one text that `load_settings` reads back as the same value
(`tests/unit/test_settings.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.durations import format_duration
from app.setting_types import Duration, Durations, Group
from app.settings import BOOTSTRAP_NAMES, PREFIX, Settings

#: The folder that holds the package `app`: `faust -A app` must find it from any folder.
ROOT = Path(__file__).resolve().parents[2]
_DURATION = get_args(Duration)[1]
_DURATIONS = get_args(Durations)[1]


def walk_settings(settings: Settings) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    """Yield the path, the declaration and the value of each setting, groups last."""
    groups = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Group):
            groups.append((name, value))
        else:
            yield (name,), field, value
    for name, group in groups:
        for inner, field in type(group).model_fields.items():
            yield (name, inner), field, getattr(group, inner)


def environment_name(path: tuple[str, ...]) -> str:
    """Return `CANDLEWICK_BARS__GRACE` for `("bars", "grace")`."""
    return (PREFIX + "__".join(path)).upper()


def setting_text(field: FieldInfo, value: Any) -> str | None:
    """Return a setting's value as its user would write it; None for one that is not set."""
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if _DURATIONS in field.metadata:
        return ",".join(format_duration(length) for length in value)
    if _DURATION in field.metadata:
        return format_duration(value)
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that makes another process's settings the same as these.

    Paths become absolute. What the current environment says of Candlewick is replaced.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(PREFIX) or name.upper() in BOOTSTRAP_NAMES
    }
    for path, field, value in walk_settings(settings):
        text = setting_text(field, value.resolve() if isinstance(value, Path) else value)
        if text is not None:
            ours[environment_name(path)] = text
    known = ours.get("PYTHONPATH")
    ours["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([known] if known else [])])
    return ours
