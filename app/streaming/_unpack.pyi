"""Types of the compiled module; its documentation is in `_unpack.pyx`."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

class PackedValues(Sequence[bytes | None]):
    begins: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    def __init__(
        self,
        begins: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int32],
        owners: tuple[memoryview, ...],
    ) -> None: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> PackedValues: ...
    def tolist(self) -> list[bytes | None]: ...
    @staticmethod
    def join(parts: list[PackedValues]) -> PackedValues: ...

def unpack_packed(
    records: bytes | memoryview, count: int, deltas: npt.NDArray[np.int64]
) -> PackedValues: ...
def unpack(
    records: bytes | memoryview, count: int, keyed: bool, deltas: npt.NDArray[np.int64]
) -> tuple[list[bytes | None], list[bytes | None] | None]: ...
