"""Tokens into files that only their owner reads."""

from __future__ import annotations

import os
from pathlib import Path

#: Bytes of a token's file that are read; more is another file by mistake.
TOKEN_BYTES = 4096


def write_token(folder: Path, name: str, token: str) -> Path:
    """Write a token to `folder/NAME.token`, mode 600, as a whole or not at all; its path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.token"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    # Made with its mode: it is at no moment readable by others.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{token}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return path


def read_token(path: Path) -> str | None:
    """Return the token of a file, None where there is no file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(TOKEN_BYTES).strip() or None
    except FileNotFoundError:
        return None
