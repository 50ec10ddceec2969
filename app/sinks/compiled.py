"""The compiled way from records to lines, where there is one; the Python way is in `points.py`.

It takes what the engine itself writes and leaves the rest: rows of a batch, which then go the
Python way and are put between the others (`merged`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.record_forms import form_of
from app.sinks import lines
from app.sinks.line_bodies import Int64Array, Lines
from app.sinks.measurements import Measurement
from app.sinks.plans import Plan

logger = logging.getLogger(__name__)

compiled_encoder: Any = None
try:
    from app.sinks import _lines as module
except ImportError as error:
    logger.warning(
        "the compiled encoding of lines is missing (%s): points for InfluxDB cost ten times as "
        "much; install a C compiler and run `make setup` again",
        error,
    )
else:
    compiled_encoder = module.Encoder

#: Series, and names of mappings and arrays, that are remembered as text.
MAX_REMEMBERED: Final = 100_000


class CompiledLines:
    """Encodes the records of one measurement, as far as they have their usual form.

    Args:
        head_of: measurement and tags of a point, by the tags; empty where Python has to look.
        key_of: of a mapping's name, what a line has for it; None where it can have none.
    """

    def __init__(
        self,
        plan: Plan,
        measurement: Measurement,
        head_of: Callable[[tuple[str, ...]], str],
        key_of: Callable[[str], str | None],
    ) -> None:
        self._head_of, self._key_of = head_of, key_of
        form = form_of(measurement.record)
        assert form is not None
        self._arrays = form.texts
        self._encoder = compiled_encoder(plan, self._head, self._array, self._name, MAX_REMEMBERED)

    def take(self, batch: RecordBatch) -> tuple[Lines, Int64Array]:
        """Return the lines of the records of the usual form, and the rows of the others."""
        count = len(batch)
        ends, times, rest = (np.empty(count, dtype=np.int64) for _ in range(3))
        body, made = self._encoder.encode(
            batch.values,
            np.ascontiguousarray(batch.offsets, dtype=np.int64),
            np.ascontiguousarray(batch.append_times, dtype=np.int64),
            ends,
            times,
            rest,
        )
        return Lines(body, ends[:made], times[:made]), rest[: count - made]

    def _head(self, key: bytes) -> bytes | None:
        """Of the tags, a quote behind each."""
        return self._head_of(tuple(key.decode().split('"')[:-1])).encode() or None

    def _array(self, text: bytes) -> bytes | None:
        """Of an array's JSON; empty where it is a gap."""
        try:
            value = self._arrays.decode(text)
        except msgspec.DecodeError:
            return None
        written = lines.string(value)
        return b"" if written == lines.NULL else written.encode()

    def _name(self, name: bytes) -> bytes | None:
        key = self._key_of(name.decode())
        return None if key is None else f",{key}=".encode()
