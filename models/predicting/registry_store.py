"""Where versions are kept: files that are created once and never written again.

Everything the registry does in turn with other writers rests on one verb, `create`: the file is
there afterwards with all its bytes, or it was there before and the call fails. What gives it:

- local files: a draft is written and flushed, then linked under its name (`link(2)` fails where the
  name is taken). Needs a file system with hard links; one without is refused by name;
- S3, Google Cloud, Azure: the service's conditional put, which s3fs (2024.12 and newer), gcsfs and
  adlfs send for `pipe_file(mode="create")`; an object appears whole, and nothing is renamed. S3's
  own needs no setting; servers that imitate S3 must know `If-None-Match` (`must_be_exclusive`);
- any other file system of fsspec: a look, then a write. Safe for one writer at a time only.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from pathlib import Path
from typing import Any, Final, Protocol

logger = logging.getLogger(__name__)

S3_INSTALL: Final = "pip install 'candlewick[s3]'"
_S3: Final = ("s3://", "s3a://")
_PRECONDITION_FAILED: Final = 412
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})


class Store(Protocol):
    """Files by paths with `/` between their parts, below one place."""

    def where(self, path: str) -> str:
        """Return the path or address as a person would write it."""

    def create(self, path: str, content: bytes) -> None:
        """Create a file with its content, whole.

        Raises:
            FileExistsError: there is one, which stays as it is.
        """

    def size(self, path: str) -> int:
        """Return a file's size in bytes.

        Raises:
            FileNotFoundError: there is none.
        """

    def read(self, path: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: there is none.
        """

    def names(self, path: str) -> tuple[str, ...]:
        """Return what is directly in a folder, sorted, without drafts; empty if it is not there."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""


class LocalStore:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def where(self, path: str) -> str:
        return str(self._folder / path)

    def create(self, path: str, content: bytes) -> None:
        target = self._folder / path
        _make_folder(target.parent)
        draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, target)
            except FileExistsError:
                # Over NFS an answer may be lost and the call sent again: then the link is ours.
                if draft.stat().st_nlink != 2:
                    raise FileExistsError(errno.EEXIST, "is there already", str(target)) from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise OSError(
                    f"{target.parent}: a file system without hard links; "
                    "expected one with, or an address of an object store"
                ) from error
        finally:
            draft.unlink(missing_ok=True)
        _flush(target.parent)

    def size(self, path: str) -> int:
        return (self._folder / path).stat().st_size

    def read(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()

    def names(self, path: str) -> tuple[str, ...]:
        try:
            found = os.listdir(self._folder / path)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return tuple(sorted(each for each in found if not each.startswith(".")))

    def remove(self, path: str) -> None:
        (self._folder / path).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they outlast a power failure."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush(folder.parent)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class RemoteStore:
    """A place of fsspec's: a bucket and prefix, memory."""

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self._address = address.rstrip("/")
        self._files: Any
        # Some clients keep listings and even believe them when a file is read: what another writer
        # has created since would not be there.
        self._files, root = url_to_fs(self._address, use_listings_cache=False)
        self._root = str(root).rstrip("/")

    def where(self, path: str) -> str:
        return f"{self._address}/{path}"

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def create(self, path: str, content: bytes) -> None:
        place = self._path(path)
        try:
            self._files.pipe_file(place, content, mode="create")
        except OSError as error:
            if not _is_taken(error):
                raise
            # A client sends a put again whose answer was lost: then what is there is ours. What
            # must not be taken for another's has a token in it.
            if bytes(self._files.cat_file(place)) != content:
                raise FileExistsError(errno.EEXIST, "is there already", self.where(path)) from None

    def size(self, path: str) -> int:
        return int(self._files.info(self._path(path))["size"])

    def read(self, path: str) -> bytes:
        return bytes(self._files.cat_file(self._path(path)))

    def names(self, path: str) -> tuple[str, ...]:
        place = self._path(path)
        try:
            found = self._files.ls(place, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        names = {str(each).rstrip("/").removeprefix(f"{place}/") for each in found}
        return tuple(
            sorted(each for each in names if "/" not in each and each[:1] not in ("", "."))
        )

    def remove(self, path: str) -> None:
        try:
            self._files.rm_file(self._path(path))
        except FileNotFoundError:
            return


def _is_taken(error: OSError) -> bool:
    """Return whether the name is there already, as far as a client tells.

    s3fs knows it by a word of S3's answer that some servers that imitate it leave out.
    """
    if isinstance(error, FileExistsError):
        return True
    answer = getattr(error.__cause__, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return bool(status == _PRECONDITION_FAILED)


def must_be_exclusive(store: Store) -> None:
    """Try out that a file is created once; leaves nothing.

    Raises:
        ValueError: the second of two files of one name has been taken.
        OSError: the place cannot be written.
    """
    probe = f"probe-{secrets.token_hex(8)}"
    store.create(probe, b"can this be written?\n")
    try:
        store.create(probe, b"and not once more?\n")
    except FileExistsError:
        return
    else:
        raise ValueError(
            f"{store.where('')}: writes over files that are there already; expected a server that "
            "knows the condition If-None-Match"
        )
    finally:
        try:
            store.remove(probe)
        except Exception as error:  # noqa: BLE001 - who may not remove may write all the same
            logger.debug("%s stays: %r", store.where(probe), error)


def open_store(location: str | Path) -> Store:
    """Return the store at a folder or an address such as `s3://bucket/models`.

    Raises:
        ValueError: a protocol that fsspec does not know.
        ImportError: the protocol's package is not there; the message names it.
    """
    text = str(location)
    if text.startswith("file://"):
        return LocalStore(Path(text.removeprefix("file://")))
    if "://" not in text and "::" not in text:
        return LocalStore(Path(text))
    try:
        return RemoteStore(text)
    except ImportError as error:
        if not text.startswith(_S3):
            raise
        raise ImportError(f"{text}: needs the package s3fs: {S3_INSTALL}") from error
