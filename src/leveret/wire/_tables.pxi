# Field tables: the twin of table.py. Part of _speedups.pyx.

cdef enum:
    DEPTH_MAX = 256  # of the C stack; what is allowed to be deeper is left to Python
    SMALL = 512  # bytes that need no memory of their own

cdef int MAX_DEPTH = _table.MAX_DEPTH


class _Unusual(Exception):
    """Not the ordinary case: ask the twin."""


# -- encoding -----------------------------------------------------------------------------------

cdef struct Writer:
    uint8_t* data
    Py_ssize_t size
    Py_ssize_t room
    uint8_t small[SMALL]


cdef inline void writer_open(Writer* out) noexcept:
    out.data = out.small
    out.size = 0
    out.room = SMALL


cdef inline void writer_close(Writer* out) noexcept:
    if out.data != out.small:
        PyMem_Free(out.data)


cdef inline uint8_t* reserve(Writer* out, Py_ssize_t size) except NULL:
    """Where the next `size` bytes go; they count as written."""
    if size > out.room - out.size:
        grow(out, size)
    out.size += size
    return out.data + out.size - size


cdef int grow(Writer* out, Py_ssize_t size) except -1:
    cdef Py_ssize_t room = 2 * out.room + size
    cdef uint8_t* data
    if room < size:
        raise MemoryError
    if out.data == out.small:
        data = <uint8_t*>PyMem_Malloc(room)
        if data == NULL:
            raise MemoryError
        memcpy(data, out.small, out.size)
    else:
        data = <uint8_t*>PyMem_Realloc(out.data, room)
        if data == NULL:
            raise MemoryError
    out.data = data
    out.room = room
    return 0


cdef inline object writer_bytes(Writer* out):
    return PyBytes_FromStringAndSize(<const char*>out.data, out.size)


cdef inline int write_text(Writer* out, object value) except -1:
    """A short string that is a str without surrogate escapes."""
    cdef const char* text
    cdef Py_ssize_t size
    if not as_shortstr(value, &text, &size):
        raise _Unusual
    write_shortstr(reserve(out, 1 + size), text, size)
    return 0


cdef int write_piece(Writer* out, object piece) except -1:
    """Bytes that the twin has encoded."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(<bytes?>piece)
    memcpy(reserve(out, size), PyBytes_AS_STRING(piece), size)
    return 0


cdef int write_sized(Writer* out, uint8_t tag, const char* data, Py_ssize_t size) except -1:
    cdef uint8_t* place
    if <uint64_t>size > 0xFFFFFFFFU:
        raise _Unusual
    place = reserve(out, 5 + size)
    place[0] = tag
    memcpy(write32(place + 1, <uint32_t>size), data, size)
    return 0


cdef int write_value(Writer* out, object value, int depth) except -1:
    """A value with its tag, in a table or array of this depth."""
    cdef uint8_t* place
    cdef const char* text
    cdef Py_ssize_t size
    cdef long long number
    cdef int overflow
    cdef object kind = type(value)
    if kind is str:
        if as_utf8(value, &text, &size):
            return write_sized(out, c'S', text, size)
    elif kind is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            if -0x80000000LL <= number <= 0x7FFFFFFFLL:
                place = reserve(out, 5)
                place[0] = c'I'
                write32(place + 1, <uint32_t>number)
            else:
                place = reserve(out, 9)
                place[0] = c'l'
                write64(place + 1, <uint64_t>number)
            return 0
    elif kind is bool:
        place = reserve(out, 2)
        place[0] = c't'
        place[1] = value is True
        return 0
    elif value is None:
        reserve(out, 1)[0] = c'V'
        return 0
    elif kind is dict:
        reserve(out, 1)[0] = c'F'
        return write_mapping(out, value, depth - 1)
    elif kind is list or kind is tuple:
        reserve(out, 1)[0] = c'A'
        return write_array(out, value, depth - 1)
    elif kind is float:
        place = reserve(out, 9)
        place[0] = c'd'
        PyFloat_Pack8(PyFloat_AS_DOUBLE(value), <char*>place + 1, 0)
        return 0
    elif kind is bytes:
        return write_sized(out, c'x', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    return write_piece(out, _table.encode_value(value, depth))


cdef int write_mapping(Writer* out, object table, int depth) except -1:
    """A dict with its length. What encodes a value may be anybody's code, and change the dict."""
    cdef Py_ssize_t start = out.size
    cdef Py_ssize_t count = PyDict_Size(table)
    cdef Py_ssize_t pos = 0
    cdef PyObject* key
    cdef PyObject* value
    if depth <= 0:
        raise _Unusual
    reserve(out, 4)
    while PyDict_Next(table, &pos, &key, &value):
        write_entry(out, <object>key, <object>value, depth)
        if PyDict_Size(table) != count:
            raise _Unusual
    return write_length(out, start)


cdef int write_entry(Writer* out, object key, object value, int depth) except -1:
    # the references of the arguments are borrowed: own ones keep both alive
    cdef object own_key = key
    cdef object own_value = value
    cdef const char* text
    cdef Py_ssize_t size
    if as_shortstr(own_key, &text, &size):
        write_shortstr(reserve(out, 1 + size), text, size)
    else:
        write_piece(out, _table.encode_shortstr(own_key))
    return write_value(out, own_value, depth)


cdef int write_array(Writer* out, object values, int depth) except -1:
    """A list or tuple with its length; as a loop in Python, this sees changes of the list."""
    cdef Py_ssize_t start = out.size
    cdef Py_ssize_t index = 0
    cdef bint is_list = type(values) is list
    if depth <= 0:
        raise _Unusual
    reserve(out, 4)
    while index < (PyList_GET_SIZE(values) if is_list else PyTuple_GET_SIZE(values)):
        # assigned, not passed: the list may lose it while it is encoded
        if is_list:
            value = <object>PyList_GET_ITEM(values, index)
        else:
            value = <object>PyTuple_GET_ITEM(values, index)
        write_value(out, value, depth)
        index += 1
    return write_length(out, start)


cdef int write_length(Writer* out, Py_ssize_t start) except -1:
    """What was written from `start` on is a table or array: fill in its length."""
    cdef uint64_t size = out.size - start - 4
    if size > 0xFFFFFFFFU:
        raise _Unusual
    write32(out.data + start, <uint32_t>size)
    return 0


def encode_table(table, *, name="table", max_depth=_table.MAX_DEPTH):
    """`pure.encode_table`."""
    cdef Writer out
    cdef int64_t depth
    if type(table) is dict and as_size(max_depth, &depth) and depth <= DEPTH_MAX:
        writer_open(&out)
        try:
            if not table:
                return b"\0\0\0\0"
            write_mapping(&out, table, <int>depth)
            return writer_bytes(&out)
        except Exception:
            pass  # the twin finds the same, and says where
        finally:
            writer_close(&out)
    return _table.encode_table(table, name=name, max_depth=max_depth)


# -- looking at what is to be encoded -----------------------------------------------------------

# Nothing here calls code of others, so that nothing changes meanwhile: references are borrowed. A
# class of another metaclass might have a hash of its own, and is left to the twin.

cdef bint is_plain_value(PyObject* value, object kinds, int depth) except -1:
    cdef object kind = type(<object>value)
    cdef Py_ssize_t at
    if type(kind) is not type:
        raise _Unusual
    if PySet_Contains(kinds, kind):
        return True
    if kind is str:
        return PyUnicode_IS_ASCII(<object>value)
    if kind is dict:
        return is_plain_mapping(<object>value, kinds, depth)
    if kind is not list or depth <= 0:
        return False
    for at in range(PyList_GET_SIZE(<object>value)):
        if not is_plain_value(PyList_GET_ITEM(<object>value, at), kinds, depth - 1):
            return False
    return True


cdef bint is_plain_mapping(object table, object kinds, int depth) except -1:
    cdef Py_ssize_t pos = 0
    cdef PyObject* key
    cdef PyObject* value
    if depth <= 0:
        return False
    while PyDict_Next(table, &pos, &key, &value):
        if type(<object>key) is not str or not PyUnicode_IS_ASCII(<object>key):
            return False
        if not is_plain_value(value, kinds, depth - 1):
            return False
    return True


def is_plain_table(table, kinds, max_depth=_table.MAX_DEPTH):
    """`pure.is_plain_table`."""
    cdef int64_t depth
    if (
        type(table) is dict
        and type(kinds) is frozenset
        and as_size(max_depth, &depth)
        and depth <= DEPTH_MAX
    ):
        try:
            return is_plain_mapping(table, kinds, <int>depth)
        except _Unusual:
            pass
    return _table.is_plain_table(table, kinds, max_depth)


# -- decoding -----------------------------------------------------------------------------------

cdef struct Reader:
    const uint8_t* data
    Py_ssize_t pos


cdef object read_value(Reader* reader, bytes source, Py_ssize_t end, int depth):
    """The value whose tag stands at the reader, which is before `end`."""
    cdef const uint8_t* at = reader.data + reader.pos
    cdef Py_ssize_t left = end - reader.pos - 1
    cdef uint8_t tag = at[0]
    cdef uint32_t size
    cdef object value
    at += 1
    if tag == c'S' or tag == c'x':
        if left < 4:
            raise _Unusual
        size = read32(at)
        if size > <uint64_t>(left - 4):
            raise _Unusual
        reader.pos += 5 + <Py_ssize_t>size
        if tag == c'S':
            try:
                return PyUnicode_DecodeUTF8(<const char*>at + 4, size, NULL)
            except UnicodeDecodeError:
                pass
        return PyBytes_FromStringAndSize(<const char*>at + 4, size)
    if tag == c'F':
        reader.pos += 1
        return read_mapping(reader, source, end, depth - 1)
    if tag == c'A':
        reader.pos += 1
        return read_array(reader, source, end, depth - 1)
    if tag == c'V':
        reader.pos += 1
        return None
    if tag == c'I' or tag == c'i' or tag == c'f':
        if left < 4:
            raise _Unusual
        reader.pos += 5
        if tag == c'I':
            return <int32_t>read32(at)
        if tag == c'i':
            return read32(at)
        return PyFloat_Unpack4(<const char*>at, 0)
    if tag == c'l' or tag == c'd' or tag == c'T':
        if left < 8:
            raise _Unusual
        reader.pos += 9
        if tag == c'l':
            return <int64_t>read64(at)
        if tag == c'd':
            return PyFloat_Unpack8(<const char*>at, 0)
        return _table.decode_timestamp(read64(at))
    if tag == c't' or tag == c'b' or tag == c'B':
        if left < 1:
            raise _Unusual
        reader.pos += 2
        if tag == c't':
            return at[0] != 0
        return <int8_t>at[0] if tag == c'b' else at[0]
    if tag == c's' or tag == c'u':
        if left < 2:
            raise _Unusual
        reader.pos += 3
        return <int16_t>read16(at) if tag == c's' else <uint16_t>read16(at)
    if tag == c'D':
        if left < 5:
            raise _Unusual
        value = _table.decode_decimal(source, reader.pos + 1)
        reader.pos += 6
        return value
    raise _Unusual


cdef Py_ssize_t enter(Reader* reader, Py_ssize_t end, int depth) except -1:
    """Where the table or array ends whose length stands at the reader."""
    cdef Py_ssize_t left = end - reader.pos
    cdef uint32_t size
    if depth <= 0 or left < 4:
        raise _Unusual
    size = read32(reader.data + reader.pos)
    if size > <uint64_t>(left - 4):
        raise _Unusual
    reader.pos += 4
    return reader.pos + <Py_ssize_t>size


cdef object read_mapping(Reader* reader, bytes source, Py_ssize_t end, int depth):
    cdef Py_ssize_t stop = enter(reader, end, depth)
    cdef dict table = {}
    cdef const uint8_t* at
    cdef Py_ssize_t size
    while reader.pos < stop:
        at = reader.data + reader.pos
        size = at[0]
        if size >= stop - reader.pos - 1:
            raise _Unusual
        key = cached_text(_key_cache, at + 1, size)
        reader.pos += 1 + size
        table[key] = read_value(reader, source, stop, depth)
    return table


cdef object read_array(Reader* reader, bytes source, Py_ssize_t end, int depth):
    cdef Py_ssize_t stop = enter(reader, end, depth)
    cdef list array = []
    while reader.pos < stop:
        array.append(read_value(reader, source, stop, depth))
    return array


def decode_table(data, offset=0, *, max_depth=_table.MAX_DEPTH):
    """`pure.decode_table`."""
    cdef Reader reader
    cdef int64_t start, depth
    if (
        type(data) is bytes
        and as_size(offset, &start)
        and as_size(max_depth, &depth)
        and depth <= DEPTH_MAX
        and start <= PyBytes_GET_SIZE(data)
    ):
        reader.data = <const uint8_t*>PyBytes_AS_STRING(data)
        reader.pos = <Py_ssize_t>start
        try:
            table = read_mapping(&reader, data, PyBytes_GET_SIZE(data), <int>depth)
            return table, reader.pos
        except _Unusual:
            pass
    return _table.decode_table(data, offset, max_depth=max_depth)
