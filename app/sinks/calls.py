"""Calls of a driver: no longer than they may take, and no errors but those of its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from app.sinks.driver import SinkError

Answer = TypeVar("Answer")


class DriverFaultError(RuntimeError):
    """A driver has raised what its contract does not have, or has not answered for too long."""


async def ask_driver(call: Awaitable[Answer], seconds: float) -> Answer:
    """Await a call of the driver.

    Raises:
        SinkError: as the driver says.
        DriverFaultError: anything else, or no answer within so many seconds.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except SinkError:
        raise
    except TimeoutError:
        raise DriverFaultError(f"no answer within {seconds:g} s") from None
    except Exception as error:
        raise DriverFaultError(f"fault of the driver: {error!r}") from error


def call_driver(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call the driver where it must not raise.

    Raises:
        DriverFaultError: it has.
    """
    try:
        return function(*arguments)
    except Exception as error:
        raise DriverFaultError(f"fault of the driver: {error!r}") from error
