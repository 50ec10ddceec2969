"""Secrets of the channels: from a setting or from a file, read late and never logged."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from app.notify.settings import SECRET_URL
from app.setting_types import Group
from app.settings import SettingsError

#: Bytes of a file with a secret; more is another file by mistake.
SECRET_BYTES = 4096


def read_secret(group: str, settings: Group, name: str) -> str | None:
    """Return a secret from its setting or its file, whose last line break is not part of it.

    Args:
        group: name of the group, for messages.
        settings: the group, with fields `name` and `name_file`.

    Raises:
        SettingsError: both are set, one is empty, or the file cannot be read or has several lines.
    """
    value: SecretStr | None = getattr(settings, name)
    path: Path | None = getattr(settings, f"{name}_file")
    setting = f"CANDLEWICK_{group}__{name}".upper()
    if value is not None and path is not None:
        raise SettingsError(f"{setting} and {setting}_FILE are both set; expected one")
    if value is not None:
        text = value.get_secret_value()
        if not text:
            raise SettingsError(f"{setting} is empty; expected a value, or no setting")
        return text
    if path is None:
        return None
    setting = f"{setting}_FILE={str(path)!r}"
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(SECRET_BYTES + 1).removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise SettingsError(f"{setting}: {error.strerror}; expected a readable file") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{setting}: not text; expected one line") from None
    if not text or "\n" in text or len(text) > SECRET_BYTES:
        raise SettingsError(f"{setting}: expected one line that is the secret alone")
    return text


def check_address(group: str, url: str) -> None:
    """Judge an address as the setting does, which does not see what a file holds.

    Raises:
        SettingsError: it is none.
    """
    if not SECRET_URL.fullmatch(url):
        raise SettingsError(
            f"CANDLEWICK_{group.upper()}__URL_FILE: expected http(s)://host/path, without user and "
            "fragment"
        )
