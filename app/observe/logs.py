"""Structured logs: one configuration for our events and for those of Faust, mode and aiokafka.

Everything goes to standard error, one line an event, as text or as JSON. Secrets never get here:
settings are masked where they are shown, and every event goes through `masking.py`. The same
warning is told once in ten seconds (`filters.py`), and of one event so many lines a minute
(`rates.py`). `docs/metrics.md` lists the fields.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.observe.fields import FIELDS
from app.observe.filters import RefusalFilter, RepeatFilter, RetryFilter, ServiceFilter
from app.observe.masking import MASK, mask_addresses, mask_text, mask_value
from app.observe.rates import RateFilter
from app.settings import Settings

#: Loggers that say at `info` what only a developer wants to know.
CHATTY = ("mode", "aiokafka", "asyncio", "faust")
#: Keys that structlog's own renderers read.
_RENDERED = ("exc_info", "stack_info")
#: How many lines stand behind one: of the same text, of the same event.
COUNTS = ("repeated", "left_out")

__all__ = [
    "CHATTY",
    "MASK",
    "configure_logging",
    "configure_structlog",
    "faust_logging",
    "get_logger",
    "logging_configuration",
    "mask_addresses",
]


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask values by their name, and secrets in any text."""
    for name, value in event.items():
        if not name.startswith("_") and name not in _RENDERED:
            event[name] = mask_value(name, value)
    return event


def _mask_line(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """Mask the finished text: the console's renderer adds tracebacks after `_mask`."""
    return mask_text(line)


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep an event on its line: Faust's tables and banners come with line breaks."""
    text = event.get("event")
    if isinstance(text, str) and "\n" in text:
        event["event"] = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return event


def _before(settings: Settings) -> list[Processor]:
    """Return what every event goes through, ours and foreign ones."""

    def identify(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["deployment"] = settings.deployment
        event["worker"] = settings.worker
        return event

    json = settings.log.format == "json"
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        # In a line for people the text says it all, but for how often.
        structlog.stdlib.ExtraAdder((*FIELDS, *COUNTS) if json else ("repeated",)),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([identify] if json else []),
    ]


def _renderers(settings: Settings) -> list[Processor]:
    own: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _one_line]
    if settings.log.format == "json":
        return [
            *own,
            structlog.processors.format_exc_info,
            _mask,
            structlog.processors.JSONRenderer(sort_keys=False, default=str),
        ]
    colors = sys.stderr.isatty()
    plain = structlog.dev.plain_traceback
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
    return [*own, _mask, renderer, _mask_line]


def logging_configuration(settings: Settings) -> dict[str, Any]:
    """Return the `logging.config` dictionary, for Faust's setting `logging_config` too."""
    level = settings.log.level.upper()
    chatty = "DEBUG" if level == "DEBUG" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": _renderers(settings),
                "foreign_pre_chain": _before(settings),
            }
        },
        "filters": {
            "refusal": {"()": RefusalFilter},
            "service": {"()": ServiceFilter},
            "retry": {"()": RetryFilter},
            "repeat": {"()": RepeatFilter},
            "rate": {"()": RateFilter, "most": settings.log.per_minute},
        },
        "handlers": {
            "default": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "structured",
                "filters": ["refusal", "service", "retry", "repeat", "rate"],
            }
        },
        "loggers": {name: {"level": chatty} for name in CHATTY},
        "root": {"level": level, "handlers": ["default"]},
    }


def configure_structlog(settings: Settings) -> None:
    """Send structlog's events through the standard library, where the formatter meets them."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_before(settings),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def configure_logging(settings: Settings) -> None:
    """Configure all logs of this process; for commands. A worker uses `faust_logging`."""
    configure_structlog(settings)
    logging.config.dictConfig(logging_configuration(settings))


def faust_logging(settings: Settings) -> dict[str, Any]:
    """Configure structlog and return the settings that make `faust.App` log through it."""
    configure_structlog(settings)
    return {"logging_config": logging_configuration(settings)}


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger: `log.info("partition restored", partition=3, seconds=0.2)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
