# Methods by their declarations: the twin of what declare.py generates. Part of _speedups.pyx.

cdef enum:
    FIELDS_MAX = 16

cdef enum Kind:
    A_BIT, AN_OCTET, A_SHORT, A_LONG, A_LONGLONG, A_SHORTSTR, A_LONGSTR, A_TABLE

cdef dict _kinds = {
    "Bit": A_BIT,
    "Octet": AN_OCTET,
    "Short": A_SHORT,
    "Long": A_LONG,
    "LongLong": A_LONGLONG,
    "ShortStr": A_SHORTSTR,
    "LongStr": A_LONGSTR,
    "Secret": A_LONGSTR,
    "Table": A_TABLE,
}


cdef class Layout:
    """How the fields of a method lie on the wire, and where its objects have them."""

    cdef object cls
    cdef uint32_t key
    cdef int count
    cdef Kind[FIELDS_MAX] kinds
    cdef Py_ssize_t[FIELDS_MAX] offsets  # 0 for a reserved field

    def __cinit__(self, object cls):
        self.cls = cls
        self.key = cls.key
        self.count = 0
        for name, kind, is_visible in cls._layout:
            self.kinds[self.count] = <Kind><int>_kinds[kind]
            self.offsets[self.count] = slot_offset(cls, name) if is_visible else 0
            self.count += 1


cdef dict _layouts = {}  # by class, and by key
for _method in METHODS.values():
    if len(_method._layout) <= FIELDS_MAX:
        _layouts[_method] = _layouts[_method.key] = Layout(_method)

cdef Py_ssize_t _method_channel = slot_offset(Method, "channel")


# -- encoding -----------------------------------------------------------------------------------

cdef int write_fields(Writer* out, Layout layout, object method) except -1:
    cdef int at
    cdef int bits = 0  # in the octet
    cdef uint8_t octet = 0
    cdef Kind kind
    for at in range(layout.count):
        kind = layout.kinds[at]
        if bits == 8 or (bits and kind != A_BIT):
            reserve(out, 1)[0] = octet
            bits = octet = 0
        if kind == A_BIT:
            octet |= as_octet(method, layout.offsets[at]) << bits
            bits += 1
        elif layout.offsets[at]:
            write_field(out, kind, method, layout.offsets[at])
        else:
            write_reserved(out, kind)
    if bits:
        reserve(out, 1)[0] = octet
    return 0


cdef inline int as_octet(object method, Py_ssize_t offset) except -1:
    """The value of a bit."""
    cdef PyObject* value
    cdef uint8_t bit
    if not offset:
        return 0
    value = get(method, offset)
    if value == NULL or not as_bit(<object>value, &bit):
        raise _Unusual
    return bit


cdef int write_field(Writer* out, Kind kind, object method, Py_ssize_t offset) except -1:
    cdef PyObject* found = get(method, offset)
    cdef object value
    cdef uint64_t number
    cdef Py_ssize_t size
    if found == NULL:
        raise _Unusual
    value = <object>found
    if kind == A_SHORTSTR:
        return write_text(out, value)
    if kind == A_TABLE:
        if type(value) is not dict:
            raise _Unusual
        if not value:
            write32(reserve(out, 4), 0)
            return 0
        return write_mapping(out, value, MAX_DEPTH)
    if kind == A_LONGSTR:
        if type(value) is not bytes:
            raise _Unusual
        size = PyBytes_GET_SIZE(value)
        if <uint64_t>size > 0xFFFFFFFFU:
            raise _Unusual
        memcpy(write32(reserve(out, 4 + size), <uint32_t>size), PyBytes_AS_STRING(value), size)
        return 0
    if not as_unsigned(value, &number):
        raise _Unusual
    if kind == AN_OCTET and number <= 0xFF:
        reserve(out, 1)[0] = <uint8_t>number
    elif kind == A_SHORT and number <= 0xFFFF:
        write16(reserve(out, 2), <uint32_t>number)
    elif kind == A_LONG and number <= 0xFFFFFFFFU:
        write32(reserve(out, 4), <uint32_t>number)
    elif kind == A_LONGLONG:
        write64(reserve(out, 8), number)
    else:
        raise _Unusual
    return 0


cdef int write_reserved(Writer* out, Kind kind) except -1:
    cdef Py_ssize_t size = 4
    if kind == AN_OCTET or kind == A_SHORTSTR:
        size = 1
    elif kind == A_SHORT:
        size = 2
    elif kind == A_LONGLONG:
        size = 8
    memset(reserve(out, size), 0, size)
    return 0


def encode_method(method, channel, frame_max):
    """`pure.encode_method`."""
    cdef Writer out
    cdef uint32_t number
    cdef int64_t largest
    cdef object layout = _layouts.get(type(method))
    if layout is not None and as_channel(channel, &number) and as_size(frame_max, &largest):
        writer_open(&out)
        try:
            reserve(&out, FRAME_HEADER + 4)
            write_fields(&out, <Layout>layout, method)
            reserve(&out, 1)[0] = END
            if not largest or out.size <= largest:
                out.data[0] = METHOD
                write16(out.data + 1, number)
                write32(out.data + 3, <uint32_t>(out.size - OVERHEAD))
                write32(out.data + FRAME_HEADER, (<Layout>layout).key)
                return writer_bytes(&out)
        except Exception:
            pass  # the twin finds the same, and says where
        finally:
            writer_close(&out)
    return _declare.encode_method(method, channel, frame_max)


# -- decoding -----------------------------------------------------------------------------------

cdef object read_method(bytes source, int64_t start, int64_t end, uint32_t channel):
    """The method whose payload is `source[start:end]`; None if it is for the twin."""
    cdef Reader reader
    cdef object layout
    reader.data = <const uint8_t*>PyBytes_AS_STRING(source)
    reader.pos = <Py_ssize_t>start
    if end - start < 4:
        return None
    layout = _layouts.get(read32(reader.data + start))
    if layout is None:
        return None
    reader.pos += 4
    method = allocate((<Layout>layout).cls)
    put(method, _method_channel, channel)
    try:
        read_fields(&reader, <Layout>layout, method, source, <Py_ssize_t>end)
    except (_Unusual, DecodeError):
        return None
    return method if reader.pos == end else None


cdef int read_fields(
    Reader* reader, Layout layout, object method, bytes source, Py_ssize_t end
) except -1:
    cdef int at
    cdef int bits = 8  # that were taken from the octet
    cdef uint8_t octet = 0
    cdef Kind kind
    cdef object value
    for at in range(layout.count):
        kind = layout.kinds[at]
        if kind != A_BIT:
            bits = 8
            value = read_field(reader, kind, source, end)
        else:
            if bits == 8:
                octet = step(reader, 1, end)[0]
                bits = 0
            value = True if octet >> bits & 1 else False
            bits += 1
        if layout.offsets[at]:
            put(method, layout.offsets[at], value)
    return 0


cdef inline const uint8_t* step(Reader* reader, Py_ssize_t size, Py_ssize_t end) except NULL:
    """The next `size` bytes, which the reader has passed then."""
    if size > end - reader.pos:
        raise _Unusual
    reader.pos += size
    return reader.data + reader.pos - size


cdef object read_field(Reader* reader, Kind kind, bytes source, Py_ssize_t end):
    cdef Py_ssize_t size
    if kind == A_SHORTSTR:
        size = step(reader, 1, end)[0]
        return text_of(step(reader, size, end), size)
    if kind == AN_OCTET:
        return step(reader, 1, end)[0]
    if kind == A_SHORT:
        return read16(step(reader, 2, end))
    if kind == A_LONG:
        return read32(step(reader, 4, end))
    if kind == A_LONGLONG:
        return read64(step(reader, 8, end))
    if kind == A_TABLE:
        return read_mapping(reader, source, end, MAX_DEPTH)
    size = <Py_ssize_t>read32(step(reader, 4, end))
    return PyBytes_FromStringAndSize(<const char*>step(reader, size, end), size)
