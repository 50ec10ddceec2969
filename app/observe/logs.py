"""Structured logs: one configuration for our events and for those of Faust, mode and aiokafka.

Everything goes to standard error, one line an event, as text or as JSON. Secrets never get here:
settings are masked where they are shown, and user names in addresses are masked in every event.
"""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.exits import operator_error_in
from app.settings import Settings

#: Loggers that say at `info` what only a developer wants to know.
CHATTY = ("mode", "aiokafka", "asyncio", "faust")
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_NAME = re.compile(r"password|secret|token|credential|api_?key", re.IGNORECASE)
MASK = "********"


def mask_addresses(text: str) -> str:
    """Replace the user name and password in every `scheme://user:password@host` of a text."""
    return _USER_INFO.sub(f"{MASK}@", text)


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask values by their name, and addresses in any text."""
    for name, value in event.items():
        if name.startswith("_"):
            continue
        if _SECRET_NAME.search(name):
            event[name] = MASK
        elif isinstance(value, str):
            event[name] = mask_addresses(value)
    return event


def _one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep an event on its line: Faust's tables and banners come with line breaks."""
    text = event.get("event")
    if isinstance(text, str) and "\n" in text:
        event["event"] = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    return event


class RefusalFilter(logging.Filter):
    """Leaves out what mode says of a refusal, traceback by traceback: the worker says it once."""

    def __init__(self) -> None:
        super().__init__()
        self._refused = False

    def filter(self, record: logging.LogRecord) -> bool:
        told = [record.exc_info[1]] if record.exc_info else []
        if isinstance(record.args, tuple):
            told += [each for each in record.args if isinstance(each, BaseException)]
        if any(operator_error_in(error) is not None for error in told):
            self._refused = True
            return False
        # Services, also ours, log through mode: "[^-App]: ...".
        of_mode = record.name.startswith(("mode", "faust")) or str(record.msg).startswith("[^")
        return not (self._refused and of_mode)


class ServiceFilter(logging.Filter):
    """Leaves out what mode says of our services ("[^-App]: Starting...") where Faust's is, too.

    A subclass of ours logs under its own module's name, so the level of `faust` does not reach it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        service = record.levelno <= logging.INFO and str(record.msg).startswith("[^")
        return not service or logging.getLogger("faust").isEnabledFor(record.levelno)


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
    return [*own, _mask, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


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
        "filters": {"refusal": {"()": RefusalFilter}, "service": {"()": ServiceFilter}},
        "handlers": {
            "default": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "structured",
                "filters": ["refusal", "service"],
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
