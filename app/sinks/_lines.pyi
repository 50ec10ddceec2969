"""Types of the compiled module; its documentation is in `_lines.pyx`."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from app.sinks.plans import Plan

class Encoder:
    def __init__(
        self,
        plan: Plan,
        heads: Callable[[bytes], bytes | None],
        arrays: Callable[[bytes], bytes | None],
        names: Callable[[bytes], bytes | None],
        remembered: int,
    ) -> None: ...
    def encode(
        self,
        values: Sequence[bytes | None],
        offsets: npt.NDArray[np.int64],
        append_times: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
        rest: npt.NDArray[np.int64],
    ) -> tuple[bytes, int]: ...
