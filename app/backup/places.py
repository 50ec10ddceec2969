"""Where a backup lies: a folder, an address of fsspec's, or a tar file."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from app.backup.contents import CONTENTS, BackupError
from models.predicting.registry_store import LocalStore, Store, open_store

TAR = ".tar"


class Target(Protocol):
    """What a backup is written to."""

    def create(self, path: str, content: bytes) -> None:
        """Add a file."""

    def finish(self, contents: bytes) -> None:
        """Add the list of files: from now on it is a backup."""

    def abort(self) -> None:
        """Leave nothing behind, as far as that can be done."""


class Source(Protocol):
    """What a backup is read from."""

    def read(self, path: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: there is none.
        """


class StoreTarget:
    """A folder or an address, where nothing is yet."""

    def __init__(self, store: Store) -> None:
        """Begin.

        Raises:
            BackupError: something is there.
        """
        found = store.names("")
        if found:
            what = "a backup" if CONTENTS in found else f"{found[0]}, and no backup"
            raise BackupError(f"{store.where('')} holds {what} already; expected a new place")
        self._store = store
        self._created: list[str] = []

    def create(self, path: str, content: bytes) -> None:
        self._store.create(path, content)
        self._created.append(path)

    def finish(self, contents: bytes) -> None:
        self._store.create(CONTENTS, contents)

    def abort(self) -> None:
        for path in self._created:
            self._store.remove(path)
        if isinstance(self._store, LocalStore):
            root = Path(self._store.where(""))
            folders = {folder for path in self._created for folder in Path(path).parents}
            for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
                # What somebody else has put there stays.
                with suppress(OSError):
                    (root / folder).rmdir()


class TarTarget:
    """A new tar file; it has its name when it is whole. Not compressed: Parquet is already."""

    def __init__(self, path: Path, time: int) -> None:
        """Begin.

        Args:
            time: of its files, ns.

        Raises:
            BackupError: the file is there.
        """
        if path.exists():
            raise BackupError(f"{path} is there already; expected a new file")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._time = path, time
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        self._file = self._draft.open("xb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def create(self, path: str, content: bytes) -> None:
        member = tarfile.TarInfo(path)
        member.size, member.mode, member.mtime = len(content), 0o600, self._time // 1_000_000_000
        self._tar.addfile(member, io.BytesIO(content))

    def finish(self, contents: bytes) -> None:
        self.create(CONTENTS, contents)
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        try:
            os.link(self._draft, self._path)
        except FileExistsError:
            raise BackupError(f"{self._path} is there already; expected a new file") from None
        finally:
            self._draft.unlink()

    def abort(self) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)


class TarSource:
    """A tar file, of which only named members are read, and none is unpacked."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            BackupError: it is no tar file, or not there.
        """
        self._path = path
        try:
            with tarfile.open(path, "r:") as tar:
                #: Where each file's bytes are: first and number. Links and the like are none.
                self._places = {
                    each.name: (each.offset_data, each.size)
                    for each in tar.getmembers()
                    if each.isreg()
                }
        except FileNotFoundError:
            raise BackupError(f"{path}: no such file") from None
        except tarfile.TarError as error:
            raise BackupError(f"{path}: not a tar file, or a damaged one: {error}") from None

    def read(self, path: str) -> bytes:
        if path not in self._places:
            raise FileNotFoundError(path)
        first, size = self._places[path]
        with self._path.open("rb") as file:
            file.seek(first)
            return file.read(size)


def open_target(location: str, time: int) -> Target:
    """Return the place for a new backup; `time` is the present, ns.

    Raises:
        BackupError: something is there, or a tar file at an address.
        ValueError, ImportError: as `open_store`.
    """
    if location.endswith(TAR):
        return TarTarget(_local(location), time)
    return StoreTarget(open_store(location))


def open_source(location: str) -> Source:
    """Return the place of a backup.

    Raises:
        BackupError: a tar file that is none.
        ValueError, ImportError: as `open_store`.
    """
    return TarSource(_local(location)) if location.endswith(TAR) else open_store(location)


def _local(location: str) -> Path:
    if "://" in location or "::" in location:
        raise BackupError(f"{location}: a tar file is a local one; expected a folder at an address")
    return Path(location)
