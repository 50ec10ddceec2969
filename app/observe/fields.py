"""Names for what a line of the log is about: fields in JSON, beside the text that a person reads.

`bound_logger(logger, agent="bars", partition=3).info("restored", extra={"seconds": 0.2})`
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

#: Fields of our own lines that get into the JSON; `docs/metrics.md` says what each holds.
FIELDS = (
    *("agent", "partition", "partitions", "position", "generation"),
    *("seconds", "records", "error", "version", "agents", "exit_code"),
)


class BoundLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines all have its fields, and each the ones of its own `extra`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def bound_logger(logger: logging.Logger, **fields: object) -> BoundLogger:
    """Return the logger with these fields on every line."""
    return BoundLogger(logger, fields)
