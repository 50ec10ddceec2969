# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The usual indicators of one symbol and interval, in one block of numbers.

The compiled twin of the classes that `compiled.py` names: a step does the same operations on the
same numbers in the same order, so values and states have the same bits
(`tests/unit/test_indicators_compiled.py`). A `Program` says which indicators and where their cells
are; a `Kernel` has the cells. None is NaN in a cell: values are never NaN.

Cells of an indicator: status (whether it has a value), status and values before the last update,
its values, then its parts:

- a window: how many values, place of the oldest, what was dropped (kind and value), the values;
- an exponential average: count, average (or sum), rest, and the same before;
- a counter: its value, and the one before;
- sums of a session: whether there is one, which, four sums; and the same before.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY, NAN, fabs, isnan, log, sqrt
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

# Kinds of indicators, as `compiled.py` writes them.
cdef enum:
    SMA = 1
    EMA = 2
    RSI = 3
    MACD = 4
    BOLLINGER = 5
    ATR = 6
    VWAP = 7
    SESSION_VWAP = 8
    MOMENTUM = 9
    VOLATILITY = 10

# What was dropped from a window, and what was before in an average.
cdef enum:
    NOTHING = 0
    NONE = 1
    VALUE = 2

# Status of the value before.
cdef enum:
    WAITING = 0
    READY = 1
    GONE = 2

cdef enum:
    WINDOW_HEAD = 4
    AVERAGE_CELLS = 7
    COUNTER_CELLS = 3
    SESSION_CELLS = 6

cdef double GREATEST_RATIO = 1e250
cdef double ROUNDING = 1e-12


include "_kernel_parts.pxi"
include "_kernel_layout.pxi"
include "_kernel_steps.pxi"
include "_kernel_states.pxi"


# --- for those that are not compiled -------------------------------------------------------

def mean_and_deviation(list values, Py_ssize_t count):
    """As `pure_mean_and_deviation` (windows.py), of floats."""
    cdef Py_ssize_t place
    cdef double total = 0.0, mean, difference, deviation, first
    if count < 1 or len(values) != count:
        raise ValueError(f"{len(values)} values, expected {count}, at least 1")
    for place in range(count):
        total += <double>values[place]
    mean = total / count
    total = 0.0
    for place in range(count):
        difference = <double>values[place] - mean
        total += difference * difference
    deviation = sqrt(total)
    if deviation <= ROUNDING * fabs(mean):
        first = values[0]
        for place in range(count):
            if <double>values[place] != first:
                return mean, deviation
        return first, 0.0
    return mean, deviation


# --- the classes ---------------------------------------------------------------------------

cdef class Program:
    """Which indicators, with which parameters; shared by the kernels of many symbols."""

    cdef Operation *operations
    #: Where a state is written, one at a time: room for all of them.
    cdef uint8_t *scratch
    cdef readonly int count
    cdef readonly int outputs
    cdef readonly Py_ssize_t cells

    def __cinit__(self, list operations):
        """Take (kind, outputs, first, second, third, option, other, factor) for each."""
        cdef Operation *operation
        self.operations = <Operation *>PyMem_Calloc(max(1, len(operations)), sizeof(Operation))
        if self.operations is NULL:
            raise MemoryError
        for given in operations:
            operation = self.operations + self.count
            (
                operation.kind,
                operation.outputs,
                operation.first,
                operation.second,
                operation.third,
                operation.option,
                operation.other,
                operation.factor,
            ) = given
            if not SMA <= operation.kind <= VOLATILITY or operation.first < 1:
                raise ValueError(f"{given}: no operation")
            operation.at = self.cells
            operation.parts = 2 + 2 * operation.outputs
            lay_out(operation)
            self.cells += operation.parts + operation.cells
            self.outputs += operation.outputs
            self.count += 1
        self.scratch = <uint8_t *>PyMem_Calloc(
            1, HEAD_BYTES * (1 + self.count) + NUMBER_BYTES * self.cells
        )
        if self.scratch is NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.operations)
        PyMem_Free(self.scratch)


cdef class Kernel:
    """The state of a program's indicators."""

    cdef readonly Program program
    cdef double *cells

    def __cinit__(self, Program program):
        self.program = program
        self.cells = <double *>PyMem_Calloc(max(1, program.cells), sizeof(double))
        if self.cells is NULL:
            raise MemoryError
        self.clear()

    def __dealloc__(self):
        PyMem_Free(self.cells)

    cdef void clear(self) noexcept:
        cdef Operation *operation
        cdef double *cells
        cdef int number, place
        for number in range(self.program.count):
            operation = self.program.operations + number
            cells = self.cells + operation.at
            cells[0] = WAITING
            cells[1] = GONE
            for place in range(2 * operation.outputs):
                cells[2 + place] = NAN
            if operation.kind == MACD:
                cells[operation.parts + 3 * AVERAGE_CELLS] = operation.other

    def update(self, bar, long long session):
        """Take the next bar; `session` is what its start belongs to."""
        cdef Bar taken
        cdef int number
        cdef Operation *operation
        taken.high = bar.high
        taken.low = bar.low
        taken.close = bar.close
        taken.volume = bar.volume
        vwap = bar.vwap
        taken.vwap = NAN if vwap is None else vwap
        taken.session = session
        for number in range(self.program.count):
            operation = self.program.operations + number
            step(operation, self.cells + operation.at, &taken)

    def revert(self):
        """Undo the last update.

        Raises:
            RuntimeError: nothing was taken since the last revert.
        """
        cdef int number
        cdef Operation *operation
        for number in range(self.program.count):
            operation = self.program.operations + number
            if self.cells[operation.at + 1] == GONE:
                raise RuntimeError("there is no update to revert")
            undo(operation, self.cells + operation.at)

    def values(self):
        """Return the outputs in the order of the program; None in the warm-up."""
        cdef list found = []
        cdef int number, place
        cdef Operation *operation
        cdef double *cells
        for number in range(self.program.count):
            operation = self.program.operations + number
            cells = self.cells + operation.at + 2 + operation.outputs
            for place in range(operation.outputs):
                found.append(None if isnan(cells[place]) else cells[place])
        return found

    def packed(self, tuple versions):
        """Return of each indicator the msgpack bytes of what `Indicator.state` gives.

        Args:
            versions: of the states, one each.
        """
        cdef Program program = self.program
        cdef Operation *operation
        cdef Writer writer
        cdef list found = []
        cdef int number
        if len(versions) != program.count:
            raise ValueError(f"{len(versions)} versions, expected {program.count}")
        writer.data = program.scratch
        for number in range(program.count):
            operation = program.operations + number
            writer.at = 0
            write_state(&writer, operation, self.cells + operation.at, versions[number])
            found.append(PyBytes_FromStringAndSize(<const char *>writer.data, writer.at))
        return found

    def unpack(self, int number, bytes state, int64_t version):
        """Take in what `packed` returned of an indicator.

        Raises:
            ValueError: it does not fit the indicator, or is of another version.
        """
        cdef Operation *operation
        cdef Reader reader
        if not 0 <= number < self.program.count:
            raise ValueError(f"indicator {number} of {self.program.count}")
        operation = self.program.operations + number
        reader.data = <const uint8_t *>PyBytes_AS_STRING(state)
        reader.at = 0
        reader.end = PyBytes_GET_SIZE(state)
        read_state(&reader, operation, self.cells + operation.at, version)
