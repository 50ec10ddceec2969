"""RocksDB store of one partition's rows, with the changelog position that they include.

Rows and position are one write batch in one column family, and there is no write-ahead log: the
changelog is one. A file holds all that was written up to its last row, and RocksDB lists files in
the order of their rows. So after any crash, and if the list of files ends early, the store is a
prefix of the changelog; what is missing (at most `FLUSH_SECONDS` of a killed process, or what the
write buffers hold) is read from there. Without the log a write costs a third for large rows and
three quarters for small ones.

Cache and write buffers are shared by all partitions (the default is a cache of 2 GiB for each).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path

import msgspec
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DbClosedError,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from app.exits import RefusalError

logger = logging.getLogger(__name__)

CACHE_BYTES = 64 * 1024 * 1024
WRITE_BUFFER_BYTES = 64 * 1024 * 1024
#: Seconds between files, at most: what a killed process leaves to be read from the changelog.
FLUSH_SECONDS = 60.0
#: Sorts before every row's key.
_POSITION_KEY = b"\0position"
#: What RocksDB says of a store that is open; a damaged one may name a "block".
_IN_USE = ("While lock file", "lock hold by")
#: RocksDB's properties for metrics, by our names.
MEASURED = {
    "keys": "rocksdb.estimate-num-keys",
    "memtable_bytes": "rocksdb.cur-size-all-mem-tables",
    "file_bytes": "rocksdb.total-sst-files-size",
    "table_reader_bytes": "rocksdb.estimate-table-readers-mem",
    "pending_compaction_bytes": "rocksdb.estimate-pending-compaction-bytes",
    "background_errors": "rocksdb.background-errors",
    "write_stopped": "rocksdb.is-write-stopped",
}
_cache = Cache(CACHE_BYTES)
_write_buffers = WriteBufferManager.new_write_buffer_manager_with_cache(
    WRITE_BUFFER_BYTES, False, _cache
)
_unlogged = WriteOptions()
# A property, which its stub has as a method (rocksdict 0.3.29).
setattr(_unlogged, "disable_wal", True)  # noqa: B010


def cache_usage() -> int:
    """Bytes in the block cache that all stores of this process share."""
    used: int = _cache.get_usage()
    return used


class StoreInUseError(RefusalError):
    """Another process has the store open."""


class StoreDamagedError(RuntimeError):
    """The store's files cannot be read: it must be rebuilt from the changelog."""


class Position(msgspec.Struct, frozen=True):
    """How far a store is: next changelog offset of which topic id, written when (s, epoch)."""

    changelog_next: int
    changelog_id: str
    written_at: float


_key = itemgetter(0)
_decode_position = msgspec.msgpack.Decoder(Position).decode


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_manager(_write_buffers)
    options.set_write_buffer_size(16 * 1024 * 1024)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1024 * 1024)
    table = BlockBasedOptions()
    table.set_block_cache(_cache)
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options


class PartitionStore:
    """Open with `PartitionStore(folder)`; `close` releases the lock at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._open()
        self._flush_at = time.monotonic() + FLUSH_SECONDS

    def _open(self) -> Rdict:
        try:
            return Rdict(str(self.folder), _options())
        except Exception as error:
            if any(text in str(error) for text in _IN_USE):
                raise StoreInUseError(
                    f"{self.folder} is open in another process: give each worker a name of its own "
                    "(CANDLEWICK_WORKER) or end the other one"
                ) from error
            logger.warning(
                "%s cannot be opened (%s): rebuilt from the changelog", self.folder, error
            )
            shutil.rmtree(self.folder, ignore_errors=True)
            return Rdict(str(self.folder), _options())

    def get(self, key: bytes) -> bytes | None:
        """One row.

        Raises:
            StoreDamagedError: the block it lies in cannot be read.
        """
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise StoreDamagedError(f"{self.folder}: {error}") from error
        return value

    @property
    def position(self) -> Position | None:
        """How far the store is, None for a new one."""
        value = self.get(_POSITION_KEY)
        return None if value is None else _decode_position(value)

    def rows(self, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """All rows whose key begins with one of the prefixes, in key order each.

        rocksdict's `items()` ends at a bad block as if that were the end (rocksdict 0.3.29), so
        the iterator's status is asked here; `tests/unit/test_store.py` shows the need.

        Raises:
            StoreDamagedError: a block cannot be read.
        """
        for prefix in prefixes:
            iterator = self._db.iter(ReadOptions())
            try:
                iterator.seek(prefix)
                while iterator.valid():
                    key = iterator.key()
                    if not isinstance(key, bytes) or not key.startswith(prefix):
                        break
                    yield key, iterator.value()
                    iterator.next()
                iterator.status()
            except Exception as error:
                raise StoreDamagedError(f"{self.folder}: {error}") from error
            finally:
                # It keeps the files open beyond `close`, and who keeps the error keeps this frame.
                del iterator

    def write(
        self,
        rows: Iterable[tuple[bytes, bytes | None]],
        changelog_next: int,
        changelog_id: str,
    ) -> None:
        """Write rows (None deletes) and the position that includes them, at once.

        In the order of the keys: RocksDB's memtable takes neighbours three times as fast. Of
        several rows with one key the last one holds.

        Raises:
            StoreDamagedError: the files cannot be written, as on a full disk.
        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in sorted(rows, key=_key):
            if value is None:
                delete(key)
            else:
                put(key, value)
        position = Position(changelog_next, changelog_id, time.time())
        batch.put(_POSITION_KEY, msgspec.msgpack.encode(position))
        try:
            self._db.write(batch, _unlogged)
            if time.monotonic() >= self._flush_at:
                self._db.flush(wait=False)
                self._flush_at = time.monotonic() + FLUSH_SECONDS
        except Exception as error:
            # After a failed write in the background RocksDB takes no other until it is reopened.
            raise StoreDamagedError(f"{self.folder}: {error}") from error

    def sizes(self) -> Mapping[str, int] | None:
        """What RocksDB says of itself, by the names of `MEASURED`; None while it is closed.

        Some microseconds each, from memory (but the estimates after a flush).
        """
        try:
            return {name: self._db.property_int_value(key) or 0 for name, key in MEASURED.items()}
        except (DbClosedError, RuntimeError) as error:
            # Closed, or being closed in another thread ("already mutably borrowed").
            logger.debug("%s cannot be measured: %r", self.folder, error)
            return None

    def clear(self) -> None:
        """Begin anew with an empty store."""
        try:
            self.close()
        except Exception as error:  # noqa: BLE001
            # RocksDB says at its end, too, what it has found broken; all of it goes now.
            logger.debug("%s was not closed cleanly: %r", self.folder, error)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._db = self._open()

    def close(self) -> None:
        """Release the files and the lock."""
        try:
            self._db.close()
        except DbClosedError:
            # By a `clear` that could not open a new one, as on a full disk; it is tried again.
            logger.debug("%s was closed before", self.folder)
