# What a bar does to the cells of an indicator, and what undoes it. Part of `_kernel.pyx`.

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
