"""Types of the compiled module; its documentation is in `_reading.pyx`."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from app.contracts.record_forms import RecordForm

class Reader:
    def __init__(self, form: RecordForm, numbers: Callable[[bytes], bytes | None]) -> None: ...
    def columns(
        self,
        values: Sequence[bytes | None],
        numbers: npt.NDArray[np.int64],
        valid: npt.NDArray[np.uint8],
        rest: npt.NDArray[np.int64],
    ) -> tuple[int, list[bytes], bytes]: ...
