"""What PostgreSQL says, and where it is: who can mend it, in words that hold no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, load_settings
from app.sinks.driver import SinkRefusesError, SinkUnavailableError

psycopg = pytest.importorskip("psycopg", reason="pip install 'candlewick[postgres]'")

from app.sinks.postgres_address import read_address  # noqa: E402
from app.sinks.postgres_errors import connect_error, statement_error  # noqa: E402
from app.sinks.postgres_rows import RowsRefusedError  # noqa: E402

SECRET = "p@ss/word"
URL = "postgresql://someone:p%40ss%2Fword@db.example,other.example/market"


def settings_of(**postgres: object) -> Settings:
    return load_settings(postgres=postgres)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", SinkUnavailableError),
        ("53300", SinkUnavailableError),
        ("57P01", SinkUnavailableError),
        ("57014", SinkUnavailableError),
        ("40P01", SinkUnavailableError),
        ("55P03", SinkUnavailableError),
        ("25006", SinkUnavailableError),
        ("08006", SinkUnavailableError),
        ("58030", SinkUnavailableError),
        ("42501", SinkRefusesError),
        ("42P01", SinkRefusesError),
        ("28P01", SinkRefusesError),
        ("3D000", SinkRefusesError),
        ("XX001", SinkRefusesError),
        ("22021", RowsRefusedError),
        ("22003", RowsRefusedError),
        ("23502", RowsRefusedError),
        ("54000", RowsRefusedError),
    ],
)
def test_each_state_has_one_meaning(state: str, kind: type[Exception]) -> None:
    error = psycopg.errors.lookup(state)(f"the text says {SECRET}")
    found = statement_error(error, "PostgreSQL at here", [SECRET])
    assert type(found) is kind
    assert state in str(found)
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  password authentication failed for user "x"', SinkRefusesError),
        ('FATAL:  database "market" does not exist', SinkRefusesError),
        ("fe_sendauth: no password supplied", SinkRefusesError),
        ("Connection refused\n\tIs the server running on that host?", SinkUnavailableError),
        ("FATAL:  the database system is starting up", SinkUnavailableError),
        ("FATAL:  sorry, too many clients already", SinkUnavailableError),
    ],
)
def test_a_connection_that_is_refused_is_told_from_one_that_cannot_be_made(
    text: str, kind: type[Exception]
) -> None:
    found = connect_error(psycopg.OperationalError(f"{text} {SECRET}"), "PostgreSQL", [SECRET])
    assert type(found) is kind
    assert "\n" not in str(found)
    assert SECRET not in str(found)


def test_an_address_shows_its_servers_and_never_its_password() -> None:
    address = read_address(settings_of(url=URL))
    assert address.where == "PostgreSQL at db.example,other.example/market"
    assert address.secrets == (SECRET,)
    assert SECRET in address.conninfo
    for shown in (repr(address), str(address)):
        assert "p@ss" not in shown
        assert "p%40ss" not in shown


def test_an_address_in_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    place = tmp_path / "address"
    settings = settings_of(url_file=str(place))
    with pytest.raises(SinkRefusesError, match=r"URL_FILE: .* cannot be read: No such file"):
        read_address(settings)
    place.write_text("\n")
    with pytest.raises(SinkRefusesError, match="URL_FILE: no address"):
        read_address(settings)
    for host in ("one", "two"):
        place.write_text(f"postgresql://{host}:5433/market\n")
        assert read_address(settings).where == f"PostgreSQL at {host}:5433/market"
    place.write_bytes(b"\xff")
    with pytest.raises(SinkRefusesError, match="not a text"):
        read_address(settings)


@pytest.mark.parametrize(
    "url", [f"postgresql://a:{SECRET}@host/x?y=z", f"pass word {SECRET}", "http://[", ""]
)
def test_what_is_no_address_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(SinkRefusesError, match="CANDLEWICK_POSTGRES__URL: ") as caught:
        read_address(settings_of(url=url))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_every_connection_is_given_does_not_displace_what_was_asked_for() -> None:
    url = "postgresql://host/x?application_name=mine&sslmode=verify-full"
    parts = psycopg.conninfo.conninfo_to_dict(read_address(settings_of(url=url)).conninfo)
    assert parts["application_name"] == "mine"
    assert parts["sslmode"] == "verify-full"
    assert parts["client_encoding"] == "UTF8"
