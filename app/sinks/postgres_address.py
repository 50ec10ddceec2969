"""Where PostgreSQL is: the configured address, what every connection asks for, names for people."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import conninfo

from app.durations import NANOSECONDS
from app.settings import Settings
from app.sinks.driver import SinkRefusesError

#: libpq takes less for this.
_SHORTEST_CONNECT: Final = 2
_EXPECTED: Final = "expected one such as postgresql://user@host/database"


@dataclass(frozen=True)
class Address:
    """How to connect.

    Attributes:
        conninfo: for libpq; it holds the password.
        secrets: what no message may have in it.
        where: server and database, for messages.
        schema: of all tables.
        timeout: seconds of a connection attempt, or a statement.
    """

    conninfo: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    where: str
    schema: str
    timeout: float


def read_address(settings: Settings) -> Address:
    """Read the address, anew from its file where it is in one.

    Raises:
        SinkRefusesError: there is none, or it is no address.
    """
    chosen = settings.postgres
    name, text = "CANDLEWICK_POSTGRES__URL", ""
    if chosen.url_file is not None:
        name = "CANDLEWICK_POSTGRES__URL_FILE"
        try:
            text = chosen.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text"
            raise SinkRefusesError(f"{name}: {chosen.url_file} cannot be read: {reason}") from None
    elif chosen.url is not None:
        text = chosen.url.get_secret_value()
    if not text:
        raise SinkRefusesError(f"{name}: no address of PostgreSQL; {_EXPECTED}")
    timeout = settings.sinks.timeout / NANOSECONDS["s"]
    try:
        given = conninfo.conninfo_to_dict(text)
        full = conninfo.make_conninfo(
            text,
            client_encoding="UTF8",
            application_name=given.get("application_name") or f"candlewick {settings.deployment}",
            connect_timeout=max(_SHORTEST_CONNECT, round(timeout)),
            # A server that is gone without a word.
            keepalives_idle=max(1, round(timeout)),
            tcp_user_timeout=max(1, round(timeout * 1_000)),
        )
    except psycopg.Error:
        # The error quotes the text, and with it the password.
        raise SinkRefusesError(f"{name}: not an address of PostgreSQL; {_EXPECTED}") from None
    secrets = {str(given.get("password") or ""), os.environ.get("PGPASSWORD", "")} - {""}
    return Address(full, tuple(sorted(secrets)), _where(given), chosen.table_schema, timeout)


def _where(given: Mapping[str, Any]) -> str:
    """Return server and database as people write them; libpq's own defaults are left out."""
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "here"
    port = (given.get("port") or os.environ.get("PGPORT") or "").strip(",")
    database = given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user") or ""
    return f"PostgreSQL at {host}{port and f':{port}'}{database and f'/{database}'}"
