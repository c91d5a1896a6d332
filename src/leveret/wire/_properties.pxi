# The fourteen properties: the twin of properties.py. Part of _speedups.pyx.

cdef enum:
    HEADERS = 2  # the places of what is not a short string
    DELIVERY_MODE = 3
    PRIORITY = 4
    TIMESTAMP = 9
    COUNT = 14
    # bit 15 - place: properties whose values repeat from message to message
    REPEATED = 0x8000 | 0x4000 | 0x0020 | 0x0010 | 0x0008  # content_type, _encoding, type, user, app

cdef object _Properties = Properties
cdef Py_ssize_t[COUNT] _property_slots
cdef int _place
for _place in range(COUNT):
    _property_slots[_place] = slot_offset(Properties, f"_{PROPERTY_NAMES[_place]}")
cdef Py_ssize_t _encoded_slot = slot_offset(Properties, "_encoded")
cdef Py_ssize_t _persistent_slot = slot_offset(Properties, "_persistent")


cdef inline int write_octet(Writer* out, object value) except -1:
    cdef int64_t number
    if not as_size(value, &number) or number > 255:
        raise _Unusual
    reserve(out, 1)[0] = <uint8_t>number
    return 0


cdef int write_properties(Writer* out, object properties, object delivery_mode) except -1:
    cdef uint32_t flags = 0
    cdef uint64_t seconds
    cdef int place
    cdef PyObject* found
    reserve(out, 2)
    for place in range(COUNT):
        found = get(properties, _property_slots[place])
        if found == NULL:
            raise _Unusual
        value = delivery_mode if place == DELIVERY_MODE else <object>found
        if value is None:
            continue
        flags |= 0x8000U >> place
        if place == DELIVERY_MODE or place == PRIORITY:
            write_octet(out, value)
        elif place == HEADERS:
            if type(value) is dict:
                write_mapping(out, value, MAX_DEPTH)
            else:
                write_piece(out, _table.encode_table(value))
        elif place == TIMESTAMP:
            if not as_unsigned(_table.encode_timestamp(value), &seconds):
                raise _Unusual
            write64(reserve(out, 8), seconds)
        else:
            write_text(out, value)
    write16(out.data, flags)
    return 0


def encode_properties(properties, delivery_mode):
    """`pure.encode_properties`."""
    cdef Writer out
    if isinstance(properties, _Properties):
        writer_open(&out)
        try:
            write_properties(&out, properties, delivery_mode)
            return writer_bytes(&out)
        except Exception:
            pass  # the twin finds the same, and says which property
        finally:
            writer_close(&out)
    return _properties.encode_properties(properties, delivery_mode)


cdef object read_properties(bytes source, Py_ssize_t start):
    cdef Reader reader
    cdef Py_ssize_t end = PyBytes_GET_SIZE(source)
    cdef Py_ssize_t size
    cdef uint32_t flags
    cdef int place
    cdef const uint8_t* at
    cdef object value
    reader.data = <const uint8_t*>PyBytes_AS_STRING(source)
    if end - start < 2:
        raise _Unusual
    flags = read16(reader.data + start)
    if flags & 3:
        raise _Unusual
    reader.pos = start + 2
    properties = allocate(_Properties)
    for place in range(COUNT):
        if not flags & 0x8000U >> place:
            put(properties, _property_slots[place], None)
            continue
        if reader.pos >= end:
            raise _Unusual
        at = reader.data + reader.pos
        if place == DELIVERY_MODE or place == PRIORITY:
            value = at[0]
            reader.pos += 1
        elif place == HEADERS:
            value = read_mapping(&reader, source, end, MAX_DEPTH)
        elif place == TIMESTAMP:
            if end - reader.pos < 8:
                raise _Unusual
            value = _table.decode_timestamp(read64(at))
            reader.pos += 8
        else:
            size = at[0]
            if size >= end - reader.pos:
                raise _Unusual
            if 0x8000U >> place & REPEATED:
                value = cached_text(_key_cache, at + 1, size)
            else:
                value = text_of(at + 1, size)
            reader.pos += 1 + size
        put(properties, _property_slots[place], value)
    if reader.pos != end:
        raise _Unusual
    put(properties, _encoded_slot, None)
    put(properties, _persistent_slot, None)
    return properties


def decode_properties(data, start):
    """`pure.decode_properties`."""
    cdef int64_t offset
    if type(data) is bytes and as_size(start, &offset) and offset <= PyBytes_GET_SIZE(data):
        try:
            return read_properties(data, <Py_ssize_t>offset)
        except _Unusual:
            pass
    return _properties.decode_properties(data, start)
