"""Work-around: aiokafka compresses lz4 at level 9, twenty times as slow as level 1.

aiokafka 0.14 (`aiokafka/codec.py`, `lz4_encode(payload, level=9)`) follows the broker's default of
KIP-390 and offers its producers no setting: aio-libs/aiokafka#1028, open, and #1121, which would
end it. On recorded trades, 600 KB a batch: level 9 5 ms and
7.8 % of the size, level 1 0.23 ms and 10.9 %. At level 9 a replay spends more time on compression
than on everything else.

The function is rebound in the module of the record builder: for this process and all its
producers, with the same format. `tests/unit/test_feeds_encode.py` shows the need and the
effect. Delete this file once aiokafka's producer takes a level, or #1121 is released.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import aiokafka.codec
from aiokafka.record import default_records

LEVEL: Final = 1


def use_fast_lz4() -> bool:
    """Let every producer of this process write lz4 at `LEVEL`; whether that is in effect.

    False, and nothing changed, where aiokafka is not built as expected.
    """
    builder: Any = default_records.DefaultRecordBatchBuilder
    module: Any = import_module(builder.__module__)
    if not hasattr(module, "lz4_encode") or not hasattr(aiokafka.codec, "lz4_encode"):
        return False
    module.lz4_encode = _encode
    return True


def _encode(payload: Any) -> bytes:
    encoded: bytes = aiokafka.codec.lz4_encode(payload, level=LEVEL)
    return encoded
