"""Record batches of a checkpoint: by the compiled module, or by aiokafka's own builder.

aiokafka's `BatchBuilder.append` makes three objects a record, 1.1 us; here a batch is packed in one
call, and has the methods of a `BatchBuilder` that the sender asks for (aiokafka 0.14,
message_accumulator.py; no upstream issue: it is private API). `install` compares the two on records
that it makes and falls back, loudly, where they differ.

Needed: the row "indicators add" of `make bench`. To delete when aiokafka takes packed batches.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aiokafka import codec
from aiokafka.producer.message_accumulator import BatchBuilder
from google_crc32c import value as crc32c

from app.contracts.outputs import Headers
from app.streaming.compression import LEVEL

compiled_pack: Any = None
try:
    from app.streaming import _pack as compiled
except ImportError as error:
    logging.getLogger(__name__).debug("no compiled packing: %s", error)
else:
    compiled_pack = compiled.pack

logger = logging.getLogger(__name__)

Row = tuple[bytes | None, bytes | None, Headers]
#: Base offset, length, leader epoch, format, checksum; attributes, last offset, first and last
#: time, producer id and epoch, first sequence number, count.
_HEAD = struct.Struct(">qiibI")
_BODY = struct.Struct(">hiqqqhii")
_TRANSACTIONAL = 0x10
#: By the name of a setting: number in the attributes, and what compresses.
_CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, codec.gzip_encode),
    "snappy": (2, codec.snappy_encode),
    "lz4": (3, lambda data: codec.lz4_encode(data, level=LEVEL)),
    "zstd": (4, codec.zstd_encode),
}
_usable = False


class PackedBatch(BatchBuilder):  # type: ignore[misc]
    """A full batch of records that are packed already, as aiokafka's sender takes it."""

    def __init__(self, records: bytes, count: int, compression: str | None) -> None:
        # Not that of the base class: it would make a builder.
        self._records = records
        self._size = len(records)
        self._attributes = _TRANSACTIONAL
        self._relative_offset = count
        self._compression = compression
        self._milliseconds = int(time.time() * 1_000)
        self._producer = (-1, -1, 0)
        self._buffer: bytearray | None = None
        self._closed = True

    def _set_producer_state(
        self, producer_id: int, producer_epoch: int, base_sequence: int
    ) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def compress(self) -> None:
        """Compress, as the sender else would; in any thread, before the sender has the batch."""
        if self._compression is not None:
            number, compress = _CODECS[self._compression]
            smaller = compress(self._records)
            if len(smaller) < len(self._records):
                self._records, self._attributes = smaller, self._attributes | number
            self._compression = None

    def _build(self) -> bytearray:
        if self._buffer is None:
            self.compress()
            count, times = self._relative_offset, self._milliseconds
            fields = (self._attributes, count - 1, times, times, *self._producer, count)
            body = _BODY.pack(*fields) + self._records
            # Behind the length: leader epoch, format and checksum.
            head = _HEAD.pack(0, len(body) + 9, -1, 2, crc32c(body))
            self._buffer = bytearray(head + body)
            self._records = b""
        return self._buffer

    def size(self) -> int:
        """Bytes, before compression until it is built."""
        if self._buffer is None:
            return self._size + _HEAD.size + _BODY.size
        return len(self._buffer)


def install() -> bool:
    """Pack with the compiled module from now on, if it does what aiokafka does; whether it does."""
    global _usable
    if compiled_pack is None or _usable:
        return _usable
    try:
        verify()
    except Exception as error:  # noqa: BLE001
        # Whatever private API has changed into may raise anything: the slow way still works.
        logger.warning(
            "record batches cannot be packed for this aiokafka (%r): publishing falls back to its "
            "own builder, at twice the cost a record",
            error,
        )
        return False
    _usable = True
    return True


def verify() -> None:
    """Compare with aiokafka's builder.

    Raises:
        RuntimeError: they differ.
        AttributeError, TypeError: the private API is another one.
    """
    rows: list[Row] = [(b"k%d" % n, b"v" * n, [("name", b"x")] * (n % 3)) for n in range(200)]
    rows += [(None, b"", []), (b"", None, [])]
    for compression in (None, "lz4"):
        records, count = compiled_pack(rows, 0, 1 << 20)
        ours = PackedBatch(records, count, compression)
        stock = BatchBuilder(1 << 20, 3 if compression else 0, is_transactional=1)
        for key, value, headers in rows:
            stock.append(timestamp=ours._milliseconds, key=key, value=value, headers=headers)
        for batch in (ours, stock):
            batch._set_producer_state(7, 3, 11)
        if ours.record_count() != stock.record_count() or not ours.closed():
            raise RuntimeError("another count of records")
        # Compressed at another level the bytes differ; what they say is tested uncompressed.
        if compression is None and bytes(ours._build()) != bytes(stock._build()):
            raise RuntimeError("other bytes")
        if compression is not None and len(ours._build()) >= len(rows) * 100:
            raise RuntimeError("nothing was compressed")


def pack_batches(
    rows: Sequence[Row], limit: int, compression: str | None
) -> Iterator[tuple[PackedBatch, int]] | None:
    """Yield batches of at most `limit` bytes, each with its count; None where that is not usable.

    Raises:
        TypeError: a key, a value or a header is neither bytes nor None.
    """
    return _packed(list(rows), limit, compression) if _usable else None


def compress_all(batches: Sequence[PackedBatch]) -> None:
    """Compress batches, one after the other; the codecs work without the interpreter's lock."""
    for batch in batches:
        batch.compress()


def _packed(
    rows: list[Row], limit: int, compression: str | None
) -> Iterator[tuple[PackedBatch, int]]:
    first = 0
    while first < len(rows):
        records, count = compiled_pack(rows, first, limit - _HEAD.size - _BODY.size)
        yield PackedBatch(records, count, compression), count
        first += count
