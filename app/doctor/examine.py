"""All checks together: those of the machine in a thread, those of the broker beside them."""

from __future__ import annotations

import asyncio

from app.doctor.cluster import cluster
from app.doctor.finding import Finding
from app.doctor.machine import machine
from app.doctor.place import place, refused_settings
from app.settings import Settings, SettingsError


async def examine(settings: Settings | SettingsError) -> list[Finding]:
    """Return all findings; with settings that cannot be read, those that need none.

    Args:
        settings: as read, or why they could not be.
    """
    if isinstance(settings, SettingsError):
        return [*await asyncio.to_thread(machine, embedded=True), *refused_settings(settings)]
    installed, here, there = await asyncio.gather(
        asyncio.to_thread(machine, embedded=settings.broker.url is None),
        asyncio.to_thread(place, settings),
        cluster(settings),
    )
    return [*installed, *here, *there]
