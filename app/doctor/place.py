"""Checks of the settings and of what they name on this machine: names, data folder, web port."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import urllib.request
from pathlib import Path
from typing import Any

from app.doctor.finding import Finding, note, ok, one_line, problem
from app.exits import OperatorError
from app.setting_types import Group
from app.settings import BOOTSTRAP_NAMES, PREFIX, Settings, SettingsError
from app.web.bind import check_port, is_loopback

#: Free bytes below which a disk is a problem, and below which it is worth a word.
NO_ROOM, LITTLE_ROOM = 1024**3, 5 * 1024**3
#: Seconds for a page of a worker on this machine.
ANSWER_SECONDS = 1.0
#: Bytes of that page; more is not ours.
PAGE_BYTES = 1024 * 1024


def setting_names() -> set[str]:
    """Return every name that the environment may hold."""
    names = set(BOOTSTRAP_NAMES)
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            names |= {f"{PREFIX}{name}__{inner}".upper() for inner in kind.model_fields}
        else:
            names.add(f"{PREFIX}{name}".upper())
    return names


def refused_settings(error: SettingsError) -> list[Finding]:
    """Return what keeps the settings from being read, with names that were perhaps meant."""
    known = setting_names()
    given = {name for name in os.environ if name.upper().startswith(PREFIX)}
    meant = []
    for name in sorted(given):
        near = difflib.get_close_matches(name.upper(), known, n=1)
        if name.upper() not in known:
            meant.append(f"unset {name}" + (f"; perhaps {near[0]} is meant" if near else ""))
    mend = "; ".join(meant) or "candlewick settings --help"
    return [problem("settings", one_line(error), mend)]


def place(settings: Settings) -> list[Finding]:
    """Return the findings of a machine with settings that can be read."""
    given = sum(name.upper().startswith(PREFIX) for name in os.environ)
    return [
        ok(
            "settings",
            f"deployment {settings.deployment!r}; {PREFIX}... in the environment: {given}, "
            "each a setting's name",
        ),
        data_folder(settings.data_dir),
        disk(settings.data_dir),
        web_port(settings),
    ]


def _existing(path: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def data_folder(path: Path) -> Finding:
    """Check that state can be written; nothing is, to find out."""
    there = _existing(path)
    if not there.is_dir():
        return problem("data folder", f"{there} is not a folder", f"mv {there} {there}.old")
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(
            "data folder",
            f"{path} cannot be written: no right to write to {there}",
            f"set {PREFIX}DATA_DIR to a folder of your own",
        )
    made = "" if there == path.absolute() else ", made at the first start"
    return ok("data folder", f"{path.absolute()} can be written{made}")


def disk(path: Path, free: int | None = None) -> Finding:
    """Check that there is room for state and for the embedded broker's log."""
    there = _existing(path)
    left = shutil.disk_usage(there).free if free is None else free
    says = f"{left / 1024**3:.1f} GiB free at {there}"
    mend = f"du -xhd1 {there} | sort -h"
    if left < NO_ROOM:
        return problem("disk", f"{says}; Kafka stops when a disk is full", mend)
    return (
        note("disk", f"{says}, which is not much", mend) if left < LITTLE_ROOM else ok("disk", says)
    )


def web_port(settings: Settings) -> Finding:
    """Check that the pages can be served: their port is free, or a worker of ours has it."""
    web = settings.web
    if not web.enabled:
        return note("web port", "no pages: web.enabled is false", f"{PREFIX}WEB__ENABLED=true")
    if not web.port:
        return ok("web port", "each worker takes a free one")
    try:
        check_port(web.host, web.port, opened=web.open_without_authentication)
    except (SettingsError, OSError) as error:
        return problem("web port", one_line(error), f"unset {PREFIX}WEB__HOST")
    except OperatorError as error:
        answer = _worker_at(web.host, web.port)
        if answer is not None:
            return ok(
                "web port",
                f"worker {answer.get('worker')!r} of deployment {answer.get('deployment')!r} has "
                f"port {web.port} of {web.host}: {answer.get('phase')}",
            )
        return problem("web port", one_line(error), f"ss -ltnp 'sport = :{web.port}'")
    if not is_loopback(web.host):
        return note(
            "web port",
            f"port {web.port} of {web.host} is free; whoever reaches it will read all pages, "
            "without authentication",
            f"unset {PREFIX}WEB__HOST",
        )
    return ok("web port", f"port {web.port} of {web.host} is free")


def _worker_at(host: str, port: int) -> dict[str, Any] | None:
    """Return what a worker of ours says of its health, or None where something else answers."""
    at = f"[{host}]" if ":" in host else host
    # The settings name a host of this machine: a proxy of the environment has no part in it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{at}:{port}/healthz", timeout=ANSWER_SECONDS) as answer:
            page = json.loads(answer.read(PAGE_BYTES))
    except (OSError, ValueError):  # an error of HTTP is an OSError, other text a ValueError
        return None
    ours = isinstance(page, dict) and {"phase", "partitions", "deployment"} <= page.keys()
    return page if ours else None
