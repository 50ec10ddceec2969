# Of which parts the cells of an indicator are, in the order of its state. Part of `_kernel.pyx`.

cdef enum:
    WINDOW = 1
    AVERAGE = 2
    COUNTER = 3
    SESSION = 4

cdef enum:
    MOST_PARTS = 4


cdef struct Part:
    int kind
    #: Of a window or an average.
    int length
    #: Cells before it, from the first part on.
    Py_ssize_t at


cdef struct Operation:
    int kind
    int outputs
    int first
    int second
    int third
    # Options: seeds that begin at once, averages that are means, bars that are left out.
    int option
    int other
    double factor
    Py_ssize_t at
    Py_ssize_t parts
    # How many parts, and all their cells.
    int count
    Py_ssize_t cells
    Part part[MOST_PARTS]


cdef void add_part(Operation *operation, int kind, int length) noexcept:
    cdef Part *part = &operation.part[operation.count]
    part.kind = kind
    part.length = length
    part.at = operation.cells
    operation.count += 1
    if kind == WINDOW:
        operation.cells += window_cells(length)
    elif kind == AVERAGE:
        operation.cells += AVERAGE_CELLS
    elif kind == COUNTER:
        operation.cells += COUNTER_CELLS
    else:
        operation.cells += SESSION_CELLS


cdef void lay_out(Operation *operation) noexcept:
    """Fill in the parts; there are none yet."""
    cdef int kind = operation.kind, length = operation.first
    if kind == SMA or kind == BOLLINGER:
        add_part(operation, WINDOW, length)
    elif kind == EMA:
        add_part(operation, AVERAGE, length)
    elif kind == RSI:
        add_part(operation, WINDOW, 2)
        add_part(operation, AVERAGE, length)
        add_part(operation, AVERAGE, length)
    elif kind == MACD:
        add_part(operation, AVERAGE, length)
        add_part(operation, AVERAGE, operation.second)
        add_part(operation, AVERAGE, operation.third)
        add_part(operation, COUNTER, 0)
    elif kind == ATR:
        add_part(operation, WINDOW, 2)
        add_part(operation, WINDOW if operation.other else AVERAGE, length)
    elif kind == VWAP:
        add_part(operation, WINDOW, length)
        add_part(operation, WINDOW, length)
    elif kind == SESSION_VWAP:
        # The sums, and those before.
        add_part(operation, SESSION, 0)
        add_part(operation, SESSION, 0)
    elif kind == MOMENTUM:
        add_part(operation, WINDOW, length + 1)
    elif kind == VOLATILITY:
        add_part(operation, WINDOW, 2)
        add_part(operation, WINDOW, length)
        add_part(operation, COUNTER, 0)
