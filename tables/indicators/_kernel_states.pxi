# States as lists, as `Indicator.state` makes them. Part of `_kernel.pyx`.

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
