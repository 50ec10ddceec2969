"""One partition of a view on disk: the state's store (app/streaming/store.py), read backwards too.

Rows and the topic's offset that they include are one write batch: a restart goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rocksdict import ReadOptions

from app.streaming.store import PartitionStore, StoreDamagedError


class ViewStore(PartitionStore):
    """A `PartitionStore` whose position is an offset of the topic that the view follows."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows of the keys, in their order.

        Raises:
            StoreDamagedError: a block cannot be read.
        """
        if not keys:
            return []
        try:
            found: Any = self._db.get(list(keys))
        except Exception as error:
            raise StoreDamagedError(f"{self.folder}: {error}") from error
        return list(found)

    def forward(self, first: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with a prefix from the key `first` on, in key order.

        Raises:
            StoreDamagedError: a block cannot be read.
        """
        return self._scan(first, prefix, backward=False)

    def backward(self, last: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with a prefix from the key `last` (or before it) back, in reverse key order.

        Raises:
            StoreDamagedError: a block cannot be read.
        """
        return self._scan(last, prefix, backward=True)

    def _scan(self, at: bytes, prefix: bytes, *, backward: bool) -> Iterator[tuple[bytes, bytes]]:
        iterator = self._db.iter(ReadOptions())
        try:
            if backward:
                iterator.seek_for_prev(at)
            else:
                iterator.seek(at)
            while iterator.valid():
                key = iterator.key()
                if not isinstance(key, bytes) or not key.startswith(prefix):
                    break
                yield key, iterator.value()
                if backward:
                    iterator.prev()
                else:
                    iterator.next()
            # An iterator ends at a bad block as if that were the end (app/streaming/store.py).
            iterator.status()
        except Exception as error:
            raise StoreDamagedError(f"{self.folder}: {error}") from error
        finally:
            # It keeps the files open beyond `close` (app/streaming/store.py).
            del iterator
