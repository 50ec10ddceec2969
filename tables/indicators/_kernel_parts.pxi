# Windows, averages and counters in cells of doubles. Part of `_kernel.pyx`.

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
