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

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY, NAN, fabs, isnan, log, sqrt

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
    SESSION_CELLS = 12

cdef double GREATEST_RATIO = 1e250
cdef double ROUNDING = 1e-12


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


# --- parts ---------------------------------------------------------------------------------

cdef inline Py_ssize_t window_cells(int length) noexcept nogil:
    return WINDOW_HEAD + length


cdef inline bint window_take(double *cells, int length, double value) noexcept nogil:
    """Take a value, NaN for none; whether the window is full."""
    cdef int count, head
    if isnan(value):
        cells[2] = NOTHING
        return False
    count = <int>cells[0]
    head = <int>cells[1]
    if count == length:
        cells[2] = VALUE
        cells[3] = cells[WINDOW_HEAD + head]
        cells[WINDOW_HEAD + head] = value
        head += 1
        cells[1] = 0 if head == length else head
        return True
    # While it fills the oldest value is the first.
    cells[WINDOW_HEAD + count] = value
    cells[0] = count + 1
    cells[2] = NONE
    return count + 1 == length


cdef inline void window_undo(double *cells, int length) noexcept nogil:
    cdef int kind = <int>cells[2], head
    if kind == NONE:
        cells[0] -= 1
    elif kind == VALUE:
        head = <int>cells[1]
        head = length - 1 if head == 0 else head - 1
        cells[1] = head
        cells[WINDOW_HEAD + head] = cells[3]
    cells[2] = NOTHING


cdef inline double window_sum(double *cells, int length) noexcept nogil:
    """Sum from the oldest to the newest."""
    cdef int head = <int>cells[1], place
    cdef double total = 0.0
    cdef double *values = cells + WINDOW_HEAD
    for place in range(head, length):
        total += values[place]
    for place in range(head):
        total += values[place]
    return total


cdef inline double window_oldest(double *cells) noexcept nogil:
    return cells[WINDOW_HEAD + <int>cells[1]]


cdef inline double window_deviation(double *cells, int length, double *mean) noexcept nogil:
    """As `mean_and_deviation`."""
    cdef int head = <int>cells[1], place
    cdef double *values = cells + WINDOW_HEAD
    cdef double center = window_sum(cells, length) / length
    cdef double total = 0.0, difference, deviation
    for place in range(head, length):
        difference = values[place] - center
        total += difference * difference
    for place in range(head):
        difference = values[place] - center
        total += difference * difference
    deviation = sqrt(total)
    mean[0] = center
    if deviation <= ROUNDING * fabs(center):
        for place in range(length):
            if values[place] != values[0]:
                return deviation
        mean[0] = values[head]
        return 0.0
    return deviation


cdef inline double average_push(
    double *cells, int length, double alpha, bint begins_at_once, double value
) noexcept nogil:
    """Take a value, NaN for none; the average, NaN while it is seeded."""
    cdef double before, summed, back
    cdef int count
    if isnan(value):
        cells[3] = NOTHING
        return NAN
    count = <int>cells[0]
    if count == length:
        before = cells[1]
        cells[3] = NONE
        cells[5] = before
        cells[1] = before + alpha * (value - before)
        return cells[1]
    cells[3] = VALUE
    cells[4] = count
    cells[5] = cells[1]
    cells[6] = cells[2]
    count += 1
    cells[0] = count
    if begins_at_once:
        cells[1] += (1.0 if count == 1 else alpha) * (value - cells[1])
    else:
        summed = cells[1] + value
        back = summed - cells[1]
        cells[2] = cells[2] + ((cells[1] - (summed - back)) + (value - back))
        cells[1] = summed
        if count == length:
            cells[1] = (cells[1] + cells[2]) / length
            cells[2] = 0.0
    return cells[1] if count == length else NAN


cdef inline void average_undo(double *cells) noexcept nogil:
    cdef int kind = <int>cells[3]
    if kind == VALUE:
        cells[0] = cells[4]
        cells[1] = cells[5]
        cells[2] = cells[6]
    elif kind == NONE:
        cells[1] = cells[5]
    cells[3] = NOTHING


cdef inline void counter_set(double *cells, double value) noexcept nogil:
    cells[1] = VALUE
    cells[2] = cells[0]
    cells[0] = value


cdef inline void counter_undo(double *cells) noexcept nogil:
    if <int>cells[1] == VALUE:
        cells[0] = cells[2]
    cells[1] = NOTHING


cdef inline void two_sum(double *total, double *rest, double value) noexcept nogil:
    cdef double before = total[0]
    cdef double summed = before + value
    cdef double back = summed - before
    total[0] = summed
    rest[0] = rest[0] + ((before - (summed - back)) + (value - back))


cdef inline double ratio(double above, double below) noexcept nogil:
    """As `ratio`: NaN where it is None; NaN among its arguments is None."""
    cdef double result
    if isnan(below) or below == 0 or isnan(above):
        return NAN
    result = above / below
    return result if -GREATEST_RATIO < result < GREATEST_RATIO else NAN


cdef inline double log_return(double close, double before) noexcept nogil:
    cdef double quotient
    if isnan(before) or close <= 0 or before <= 0:
        return NAN
    quotient = close / before
    if 0 < quotient < INFINITY:
        return log(quotient)
    return log(close) - log(before)


# --- steps ---------------------------------------------------------------------------------

cdef struct Bar:
    double high
    double low
    double close
    double volume
    # NaN: none.
    double vwap
    long long session


cdef void step(Operation *operation, double *cells, Bar *bar) noexcept nogil:
    """Take a bar: the values before are kept, those after it set; all NaN in the warm-up."""
    cdef int outputs = operation.outputs, place
    cdef double *values = cells + 2 + outputs
    cdef double *parts = cells + operation.parts
    cdef double *other
    cdef double *third
    cdef double close = bar.close, first, second, previous, price, volume, deviation, run
    cdef double mean = 0.0
    cdef int length = operation.first
    cells[1] = cells[0]
    for place in range(outputs):
        cells[2 + place] = values[place]
    cells[0] = WAITING
    if operation.kind == SMA:
        if window_take(parts, length, close):
            cells[0] = READY
            values[0] = window_sum(parts, length) / length
    elif operation.kind == EMA:
        first = average_push(parts, length, operation.factor, operation.option, close)
        if not isnan(first):
            cells[0] = READY
            values[0] = first
    elif operation.kind == RSI:
        # A window of two closes, average gain, average loss.
        other = parts + window_cells(2)
        third = other + AVERAGE_CELLS
        previous = window_oldest(parts) if window_take(parts, 2, close) else NAN
        if isnan(previous) and operation.option:
            previous = close
        if isnan(previous):
            average_push(other, length, operation.factor, operation.option, NAN)
            average_push(third, length, operation.factor, operation.option, NAN)
        else:
            first = close - previous
            second = average_push(
                third, length, operation.factor, operation.option, -first if first < 0 else 0.0
            )
            first = average_push(
                other, length, operation.factor, operation.option, first if first > 0 else 0.0
            )
            if not (isnan(first) or isnan(second)):
                # Without any movement: what the caller wants, NaN for nothing.
                price = 100 * (first / (first + second)) if first + second != 0 else rsi_flat(operation)
                if not isnan(price):
                    cells[0] = READY
                    values[0] = price
    elif operation.kind == MACD:
        # Fast, slow and signal averages, and the bars that the fast one leaves out.
        other = parts + AVERAGE_CELLS
        third = other + AVERAGE_CELLS
        run = third[AVERAGE_CELLS]
        counter_set(third + AVERAGE_CELLS, run - 1 if run > 1 else 0.0)
        first = average_push(
            parts, length, 2.0 / (length + 1), operation.option, NAN if run != 0 else close
        )
        second = average_push(
            other, operation.second, 2.0 / (operation.second + 1), operation.option, close
        )
        price = NAN if isnan(first) or isnan(second) else first - second
        first = average_push(
            third, operation.third, 2.0 / (operation.third + 1), operation.option, price
        )
        if not (isnan(first) or isnan(price)):
            cells[0] = READY
            values[0] = price
            values[1] = first
            values[2] = price - first
    elif operation.kind == BOLLINGER:
        if window_take(parts, length, close):
            deviation = window_deviation(parts, length, &mean)
            first = operation.factor * deviation
            cells[0] = READY
            values[0] = mean - first
            values[1] = mean
            values[2] = mean + first
            second = values[2] - values[0]
            values[3] = ratio(100 * second, mean)
            values[4] = ratio(close - values[0], second)
    elif operation.kind == ATR:
        # A window of two closes; an average or a window of true ranges.
        other = parts + window_cells(2)
        previous = window_oldest(parts) if window_take(parts, 2, close) else NAN
        if isnan(previous):
            first = NAN if operation.option else bar.high - bar.low
        else:
            first = bar.high if bar.high > previous else previous
            first = first - (bar.low if bar.low < previous else previous)
        if operation.other:
            if window_take(other, length, first):
                cells[0] = READY
                values[0] = window_sum(other, length) / length
        else:
            second = average_push(other, length, operation.factor, False, first)
            if not isnan(second):
                cells[0] = READY
                values[0] = second
    elif operation.kind == VWAP:
        other = parts + window_cells(length)
        price = (bar.high + bar.low + bar.close) / 3 if operation.option else bar.vwap
        volume = 0.0 if isnan(price) else bar.volume
        if isnan(price) or price == 0:
            price = 0.0
        first = window_sum(parts, length) if window_take(parts, length, price * volume) else NAN
        second = window_sum(other, length) if window_take(other, length, volume) else NAN
        first = ratio(first, second)
        if not isnan(first):
            cells[0] = READY
            values[0] = first
    elif operation.kind == SESSION_VWAP:
        for place in range(6):
            parts[6 + place] = parts[place]
        if parts[0] == 0 or parts[1] != <double>bar.session:
            parts[0] = 1
            parts[1] = <double>bar.session
            parts[2] = parts[3] = parts[4] = parts[5] = 0.0
        if not isnan(bar.vwap):
            two_sum(parts + 2, parts + 3, bar.vwap * bar.volume)
            two_sum(parts + 4, parts + 5, bar.volume)
        first = ratio(parts[2] + parts[3], parts[4] + parts[5])
        if not isnan(first):
            cells[0] = READY
            values[0] = first
    elif operation.kind == MOMENTUM:
        if window_take(parts, length + 1, close):
            cells[0] = READY
            values[0] = close - window_oldest(parts)
    elif operation.kind == VOLATILITY:
        # A window of two closes, one of returns, bars since the last undefined return.
        other = parts + window_cells(2)
        third = other + window_cells(length)
        previous = window_oldest(parts) if window_take(parts, 2, close) else NAN
        first = log_return(close, previous)
        if isnan(previous):
            second = NAN
        else:
            # A place-holder for what is undefined, as in the twin.
            second = 0.0 if isnan(first) or first == 0 else first
        run = 0.0
        if not isnan(first):
            run = third[0] + 1
            if run > length:
                run = length
        if window_take(other, length, second):
            counter_set(third, run)
            if run >= length:
                cells[0] = READY
                values[0] = window_deviation(other, length, &mean) / operation.factor
        else:
            counter_set(third, run)
    if cells[0] == WAITING:
        for place in range(outputs):
            values[place] = NAN


cdef inline double rsi_flat(Operation *operation) noexcept nogil:
    # -1: none. Wilder's factor is 1 / length, so the cell is free for it.
    return NAN if operation.second < 0 else <double>operation.second


cdef void undo(Operation *operation, double *cells) noexcept nogil:
    """Take the last bar back; `cells[1]` is not GONE."""
    cdef int outputs = operation.outputs, place, length = operation.first
    cdef double *values = cells + 2 + outputs
    cdef double *parts = cells + operation.parts
    cdef double *other
    cells[0] = cells[1]
    for place in range(outputs):
        values[place] = cells[2 + place]
    cells[1] = GONE
    if operation.kind == SMA or operation.kind == BOLLINGER:
        window_undo(parts, length)
    elif operation.kind == EMA:
        average_undo(parts)
    elif operation.kind == RSI:
        window_undo(parts, 2)
        average_undo(parts + window_cells(2))
        average_undo(parts + window_cells(2) + AVERAGE_CELLS)
    elif operation.kind == MACD:
        average_undo(parts)
        average_undo(parts + AVERAGE_CELLS)
        average_undo(parts + 2 * AVERAGE_CELLS)
        counter_undo(parts + 3 * AVERAGE_CELLS)
    elif operation.kind == ATR:
        window_undo(parts, 2)
        if operation.other:
            window_undo(parts + window_cells(2), length)
        else:
            average_undo(parts + window_cells(2))
    elif operation.kind == VWAP:
        window_undo(parts, length)
        window_undo(parts + window_cells(length), length)
    elif operation.kind == SESSION_VWAP:
        for place in range(6):
            parts[place] = parts[6 + place]
    elif operation.kind == MOMENTUM:
        window_undo(parts, length + 1)
    elif operation.kind == VOLATILITY:
        window_undo(parts, 2)
        other = parts + window_cells(2)
        window_undo(other, length)
        counter_undo(other + window_cells(length))


# --- states: lists as `Indicator.state` makes them -----------------------------------------

cdef object number(double value):
    return None if isnan(value) else value


cdef list window_content(double *cells, int length):
    cdef int count = <int>cells[0], head = <int>cells[1], kind = <int>cells[2], place
    cdef list found = [False if kind == NOTHING else None if kind == NONE else cells[3]]
    for place in range(head, count):
        found.append(cells[WINDOW_HEAD + place])
    for place in range(head):
        found.append(cells[WINDOW_HEAD + place])
    return found


cdef int window_restore(double *cells, int length, list content) except -1:
    cdef Py_ssize_t count = len(content) - 1, place
    if not 0 <= count <= length:
        raise ValueError(f"{count} values in a window of {length}")
    cells[0] = count
    cells[1] = 0
    dropped = content[0]
    cells[2] = NOTHING if dropped is False else NONE if dropped is None else VALUE
    cells[3] = dropped if cells[2] == VALUE else 0.0
    if cells[2] == VALUE and count != length:
        raise ValueError(f"a value was dropped from {count} of {length}")
    for place in range(count):
        cells[WINDOW_HEAD + place] = content[1 + place]
    return 0


cdef list average_content(double *cells):
    cdef int kind = <int>cells[3]
    if kind == VALUE:
        before = [int(cells[4]), cells[5], cells[6]]
    else:
        before = cells[5] if kind == NONE else False
    return [before, int(cells[0]), cells[1], cells[2]]


cdef int average_restore(double *cells, int length, list content) except -1:
    before, count, total, rest = content
    if not 0 <= count <= length:
        raise ValueError(f"{count} values in an average of {length}")
    cells[0] = count
    cells[1] = total
    cells[2] = rest
    if before is False:
        cells[3] = NOTHING
    elif isinstance(before, list):
        cells[3] = VALUE
        cells[4], cells[5], cells[6] = before
    else:
        cells[3] = NONE
        cells[5] = before
    return 0


cdef list counter_content(double *cells):
    return [[int(cells[2])] if <int>cells[1] == VALUE else None, int(cells[0])]


cdef int counter_restore(double *cells, list content) except -1:
    before, value = content
    cells[0] = 0 if value is None else value
    cells[1] = NOTHING if before is None else VALUE
    if before is not None:
        (held,) = before
        cells[2] = 0 if held is None else held
    return 0


cdef list session_content(double *cells):
    session = int(cells[1]) if cells[0] != 0 else None
    return [session, cells[2], cells[3], cells[4], cells[5]]


cdef int session_restore(double *cells, list content) except -1:
    session, cells[2], cells[3], cells[4], cells[5] = content
    cells[0] = 0 if session is None else 1
    cells[1] = 0 if session is None else session
    return 0


cdef object held_values(double status, double *values, int outputs):
    cdef int place
    if status == GONE:
        return False
    if status == WAITING:
        return None
    if outputs == 1:
        return values[0]
    return [number(values[place]) for place in range(outputs)]


cdef int restore_values(double *status, double *values, int outputs, object held) except -1:
    cdef int place
    for place in range(outputs):
        values[place] = NAN
    if held is False or held is None:
        status[0] = GONE if held is False else WAITING
        return 0
    status[0] = READY
    if outputs == 1:
        values[0] = held
        return 0
    if len(held) != outputs:
        raise ValueError(f"{len(held)} values, expected {outputs}")
    for place in range(outputs):
        values[place] = NAN if held[place] is None else held[place]
    return 0


cdef list content_of(Operation *operation, double *cells):
    cdef double *parts = cells + operation.parts
    cdef double *other
    cdef int outputs = operation.outputs, length = operation.first
    cdef list found = [
        held_values(cells[0], cells + 2 + outputs, outputs),
        held_values(cells[1], cells + 2, outputs),
    ]
    if operation.kind == SMA or operation.kind == BOLLINGER:
        found.append(window_content(parts, length))
    elif operation.kind == EMA:
        found.append(average_content(parts))
    elif operation.kind == RSI:
        other = parts + window_cells(2)
        found += [window_content(parts, 2), average_content(other)]
        found.append(average_content(other + AVERAGE_CELLS))
    elif operation.kind == MACD:
        found += [average_content(parts), average_content(parts + AVERAGE_CELLS)]
        found.append(average_content(parts + 2 * AVERAGE_CELLS))
        found.append(counter_content(parts + 3 * AVERAGE_CELLS))
    elif operation.kind == ATR:
        other = parts + window_cells(2)
        found.append(window_content(parts, 2))
        found.append(window_content(other, length) if operation.other else average_content(other))
    elif operation.kind == VWAP:
        found.append(window_content(parts, length))
        found.append(window_content(parts + window_cells(length), length))
    elif operation.kind == SESSION_VWAP:
        found += [session_content(parts), session_content(parts + 6)]
    elif operation.kind == MOMENTUM:
        found.append(window_content(parts, length + 1))
    elif operation.kind == VOLATILITY:
        other = parts + window_cells(2)
        found += [window_content(parts, 2), window_content(other, length)]
        found.append(counter_content(other + window_cells(length)))
    return found


cdef int restore_one(Operation *operation, double *cells, list content) except -1:
    cdef double *parts = cells + operation.parts
    cdef double *other
    cdef int outputs = operation.outputs, length = operation.first
    cdef list held = content[2:]
    restore_values(cells, cells + 2 + outputs, outputs, content[0])
    restore_values(cells + 1, cells + 2, outputs, content[1])
    if cells[0] == GONE:
        raise ValueError("no value")
    if len(held) != parts_of(operation.kind):
        raise ValueError(f"{len(held)} parts, expected {parts_of(operation.kind)}")
    if operation.kind == SMA or operation.kind == BOLLINGER:
        window_restore(parts, length, held[0])
    elif operation.kind == EMA:
        average_restore(parts, length, held[0])
    elif operation.kind == RSI:
        other = parts + window_cells(2)
        window_restore(parts, 2, held[0])
        average_restore(other, length, held[1])
        average_restore(other + AVERAGE_CELLS, length, held[2])
    elif operation.kind == MACD:
        average_restore(parts, length, held[0])
        average_restore(parts + AVERAGE_CELLS, operation.second, held[1])
        average_restore(parts + 2 * AVERAGE_CELLS, operation.third, held[2])
        counter_restore(parts + 3 * AVERAGE_CELLS, held[3])
    elif operation.kind == ATR:
        other = parts + window_cells(2)
        window_restore(parts, 2, held[0])
        if operation.other:
            window_restore(other, length, held[1])
        else:
            average_restore(other, length, held[1])
    elif operation.kind == VWAP:
        window_restore(parts, length, held[0])
        window_restore(parts + window_cells(length), length, held[1])
    elif operation.kind == SESSION_VWAP:
        session_restore(parts, held[0])
        session_restore(parts + 6, held[1])
    elif operation.kind == MOMENTUM:
        window_restore(parts, length + 1, held[0])
    elif operation.kind == VOLATILITY:
        other = parts + window_cells(2)
        window_restore(parts, 2, held[0])
        window_restore(other, length, held[1])
        counter_restore(other + window_cells(length), held[2])
    return 0


cdef int parts_of(int kind) noexcept:
    if kind == RSI or kind == VOLATILITY:
        return 3
    if kind == MACD:
        return 4
    if kind == ATR or kind == VWAP or kind == SESSION_VWAP:
        return 2
    return 1


cdef Py_ssize_t part_cells(Operation *operation) noexcept:
    cdef int kind = operation.kind, length = operation.first
    if kind == SMA or kind == BOLLINGER:
        return window_cells(length)
    if kind == EMA:
        return AVERAGE_CELLS
    if kind == RSI:
        return window_cells(2) + 2 * AVERAGE_CELLS
    if kind == MACD:
        return 3 * AVERAGE_CELLS + COUNTER_CELLS
    if kind == ATR:
        return window_cells(2) + (window_cells(length) if operation.other else AVERAGE_CELLS)
    if kind == VWAP:
        return 2 * window_cells(length)
    if kind == SESSION_VWAP:
        return SESSION_CELLS
    if kind == MOMENTUM:
        return window_cells(length + 1)
    return window_cells(2) + window_cells(length) + COUNTER_CELLS


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
            self.cells += operation.parts + part_cells(operation)
            self.outputs += operation.outputs
            self.count += 1

    def __dealloc__(self):
        PyMem_Free(self.operations)


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

    def contents(self):
        """Return what `Indicator._content` gives, of each indicator."""
        cdef int number
        cdef Operation *operation
        cdef list found = []
        for number in range(self.program.count):
            operation = self.program.operations + number
            found.append(content_of(operation, self.cells + operation.at))
        return found

    def restore(self, list contents):
        """Take in what `contents` returned.

        Raises:
            ValueError, TypeError, IndexError: it does not fit the program.
        """
        cdef int number
        cdef Operation *operation
        if len(contents) != self.program.count:
            raise ValueError(f"{len(contents)} states, expected {self.program.count}")
        for number in range(self.program.count):
            operation = self.program.operations + number
            restore_one(operation, self.cells + operation.at, contents[number])
