"""Types of the compiled module; its documentation is in `_pack.pyx`."""

from collections.abc import Sequence
from typing import Any

def pack(rows: Sequence[Any], first: int, limit: int) -> tuple[bytes, int]: ...
