# Frames and whole messages out of a buffer: the twin of frames.py. Part of _speedups.pyx.

cdef enum:
    METHOD = 1
    HEADER = 2
    BODY = 3
    HEARTBEAT = 8
    END = 0xCE
    FRAME_HEADER = 7  # type, channel, size
    OVERHEAD = 8  # ... and the end
    CONTENT_HEADER = 12  # class, weight, body size
    PUBLISH = 60 << 16 | 40
    RETURN = 60 << 16 | 50
    DELIVER = 60 << 16 | 60
    GET_OK = 60 << 16 | 71
    ACK = 60 << 16 | 80
    REJECT = 60 << 16 | 90
    NACK = 60 << 16 | 120
    BASIC_CLASS = 60 << 16  # with a weight of 0

# The end of a frame, the type of the next one and its channel, read as one number.
cdef uint32_t END_THEN_HEADER = 0xCE020000U
cdef uint32_t END_THEN_BODY = 0xCE030000U
cdef int64_t VIEW_SIZE = _frames.VIEW_SIZE
cdef int64_t NO_LIMIT = <int64_t>1 << 62

cdef object _no_body = b""

# -- objects without their constructors -----------------------------------------------------------

cdef object _Delivery = Delivery
cdef object _Published = Published
cdef object _BasicAck = BasicAck

cdef struct ContentSlots:
    Py_ssize_t channel
    Py_ssize_t exchange
    Py_ssize_t routing_key
    Py_ssize_t raw_properties
    Py_ssize_t body
    Py_ssize_t properties

cdef struct DeliverySlots:
    Py_ssize_t consumer_tag
    Py_ssize_t delivery_tag
    Py_ssize_t redelivered
    Py_ssize_t message_count
    Py_ssize_t owner

cdef ContentSlots _content
_content.channel = slot_offset(Delivery, "channel")
_content.exchange = slot_offset(Delivery, "exchange")
_content.routing_key = slot_offset(Delivery, "routing_key")
_content.raw_properties = slot_offset(Delivery, "raw_properties")
_content.body = slot_offset(Delivery, "body")
_content.properties = slot_offset(Delivery, "_properties")

cdef DeliverySlots _delivery
_delivery.consumer_tag = slot_offset(Delivery, "consumer_tag")
_delivery.delivery_tag = slot_offset(Delivery, "delivery_tag")
_delivery.redelivered = slot_offset(Delivery, "redelivered")
_delivery.message_count = slot_offset(Delivery, "message_count")
_delivery.owner = slot_offset(Delivery, "owner")

cdef Py_ssize_t _published_mandatory = slot_offset(Published, "mandatory")
cdef Py_ssize_t _published_immediate = slot_offset(Published, "immediate")

cdef Py_ssize_t _ack_channel = slot_offset(BasicAck, "channel")
cdef Py_ssize_t _ack_tag = slot_offset(BasicAck, "delivery_tag")
cdef Py_ssize_t _ack_multiple = slot_offset(BasicAck, "multiple")

# What a class must have from `Delivery` (or `object`) to be made like one.
cdef tuple _INHERITED = (
    *("__init__", "__new__", "__setattr__", "_properties", "channel", "exchange", "routing_key"),
    *("raw_properties", "body", "consumer_tag", "delivery_tag", "redelivered", "message_count"),
    "owner",
)
cdef object _plain_class = Delivery  # the last class that had it all


cdef bint is_plain(object delivery_class) except -1:
    """Whether writing its slots is all that the constructor of this class does."""
    global _plain_class
    if delivery_class is _plain_class:
        return True
    if type(delivery_class) is not type or not issubclass(delivery_class, Delivery):
        return False
    for name in _INHERITED:
        if getattr(delivery_class, name) is not getattr(Delivery, name):
            return False
    _plain_class = delivery_class
    return True


cdef inline int put_content(
    object content, uint32_t channel, tuple names, object raw_properties, object body
) except -1:
    put(content, _content.channel, channel)
    put(content, _content.exchange, <object>PyTuple_GET_ITEM(names, 0))
    put(content, _content.routing_key, <object>PyTuple_GET_ITEM(names, 1))
    put(content, _content.raw_properties, raw_properties)
    put(content, _content.body, body)
    put(content, _content.properties, None)
    return 0


# -- whole messages -------------------------------------------------------------------------------

# Properties repeat from message to message: those of the last one are the same object.
cdef bytes _last_properties = b"\0\0"


cdef inline object same_properties(const uint8_t* data, Py_ssize_t size):
    global _last_properties
    if (
        PyBytes_GET_SIZE(_last_properties) == size
        and memcmp(PyBytes_AS_STRING(_last_properties), data, size) == 0
    ):
        return _last_properties
    properties = PyBytes_FromStringAndSize(<const char*>data, size)
    if size <= CACHED_MAX:
        _last_properties = properties
    return properties


cdef struct Stream:
    const uint8_t* data
    int64_t size
    int64_t pos
    int64_t limit  # of a frame's payload


cdef object whole_message(Stream* stream, object delivery_class, bint plain):
    """The ack or message at the position, which moves behind it; None if there is no such thing.

    `size - pos` is at least 12: a frame's header, a method's number, an octet of arguments.
    """
    cdef const uint8_t* data = stream.data
    cdef int64_t size = stream.size
    cdef int64_t pos = stream.pos
    cdef int64_t limit = stream.limit
    cdef uint32_t channel = read16(data + pos + 1)
    cdef int64_t end = pos + FRAME_HEADER + read32(data + pos + 3)
    cdef uint32_t key = read32(data + pos + 7)
    cdef int64_t header_size, header_end, stop, body_start
    cdef int64_t middle = 0
    cdef int64_t piece = 0
    cdef uint64_t body_size
    cdef object names, raw_properties, body, message
    cdef uint8_t bits

    if key == ACK:
        if end - pos != 20 or end >= size or data[end] != END:
            return None
        message = allocate(_BasicAck)
        put(message, _ack_channel, channel)
        put(message, _ack_tag, read64(data + pos + 11))
        put(message, _ack_multiple, True if data[pos + 19] & 1 else False)
        stream.pos = end + 1
        return message
    if key != DELIVER and key != PUBLISH and key != GET_OK and key != RETURN:
        return None

    # The frames: the end of one and the beginning of the next are compared at once.
    if size - end < 8 + CONTENT_HEADER:
        return None
    if read32(data + end) != (END_THEN_HEADER | channel) or read32(data + end + 8) != BASIC_CLASS:
        return None
    header_size = read32(data + end + 4)
    if header_size < CONTENT_HEADER + 2 or header_size > limit:
        return None
    header_end = end + 8 + header_size
    body_size = read64(data + end + 12)
    if body_size:
        if size - header_end < 8 or read32(data + header_end) != (END_THEN_BODY | channel):
            return None
        piece = read32(data + header_end + 4)
        body_start = header_end + 8
        if <uint64_t>piece == body_size:
            stop = body_start + piece
            if piece > limit:
                return None
        else:
            body_start = 0
            stop = end_of_body(stream, header_end, channel, body_size)
    else:
        body_start = 0
        stop = header_end
    if stop < 0 or stop >= size or data[stop] != END:
        return None

    # The method: its fields must fill it exactly.
    if key == DELIVER:
        middle = pos + 12 + data[pos + 11]
        names = cached_names(data + middle + 9, end - middle - 9)
        if names is None:
            return None
    elif key == PUBLISH:
        names = cached_names(data + pos + 13, end - pos - 14)
        if names is None:
            return None
    elif key == GET_OK:
        names = cached_names(data + pos + 20, end - pos - 24)
        if names is None:
            return None
    else:
        if end - pos < 14:
            return None
        middle = pos + 14 + data[pos + 13]
        names = cached_names(data + middle, end - middle)
        if names is None:
            return None

    raw_properties = same_properties(data + end + 20, <Py_ssize_t>(header_size - CONTENT_HEADER))
    if body_start:
        body = PyBytes_FromStringAndSize(<const char*>data + body_start, <Py_ssize_t>piece)
    elif body_size:
        body = joined_body(stream, header_end, <Py_ssize_t>body_size)
    else:
        body = _no_body
    stream.pos = stop + 1

    if key == DELIVER:
        bits = data[middle + 8]
        tag = tag_of(channel, data + pos + 12, <Py_ssize_t>(middle - pos - 12))
        if plain:
            message = allocate(delivery_class)
            put_content(message, channel, names, raw_properties, body)
            put(message, _delivery.consumer_tag, tag)
            put(message, _delivery.delivery_tag, read64(data + middle))
            put(message, _delivery.redelivered, True if bits & 1 else False)
            put(message, _delivery.message_count, None)
            put(message, _delivery.owner, None)
            return message
        return delivery_class(
            channel,
            tag,
            read64(data + middle),
            True if bits & 1 else False,
            names[0],
            names[1],
            raw_properties,
            body,
        )
    if key == PUBLISH:
        bits = data[end - 1]
        message = allocate(_Published)
        put_content(message, channel, names, raw_properties, body)
        put(message, _published_mandatory, True if bits & 1 else False)
        put(message, _published_immediate, True if bits & 2 else False)
        return message
    if key == GET_OK:
        return delivery_class(
            channel,
            None,
            read64(data + pos + 11),
            True if data[pos + 19] & 1 else False,
            names[0],
            names[1],
            raw_properties,
            body,
            read32(data + end - 4),
        )
    return Returned(
        channel,
        read16(data + pos + 11),
        text_of(data + pos + 14, <Py_ssize_t>(middle - pos - 14)),
        names[0],
        names[1],
        raw_properties,
        body,
    )


cdef int64_t end_of_body(
    Stream* stream, int64_t pos, uint32_t channel, uint64_t body_size
) noexcept:
    """Where the last end octet of a body of several frames is, -1 if it is not as announced.

    `pos` is at the end octet of the frame before it. Nothing is allocated before this has found
    every byte of the body in the buffer.
    """
    cdef uint64_t left = body_size
    cdef int64_t piece
    if body_size > <uint64_t>(stream.size - pos):
        return -1
    while left:
        if stream.size - pos < 8:
            return -1
        piece = read32(stream.data + pos + 4)
        if (
            read32(stream.data + pos) != (END_THEN_BODY | channel)
            or <uint64_t>piece > left
            or piece > stream.limit
        ):
            return -1
        pos += 8 + piece
        left -= <uint64_t>piece
    return pos


cdef object joined_body(Stream* stream, int64_t pos, Py_ssize_t body_size):
    """The body that `end_of_body` has walked over."""
    cdef object body = PyBytes_FromStringAndSize(NULL, body_size)
    cdef char* place = PyBytes_AS_STRING(body)
    cdef Py_ssize_t piece
    while body_size:
        piece = <Py_ssize_t>read32(stream.data + pos + 4)
        memcpy(place, stream.data + pos + 8, piece)
        place += piece
        body_size -= piece
        pos += 8 + piece
    return body


# -- single frames --------------------------------------------------------------------------------

cdef object single_frame(Stream* stream, bytes source, int64_t* needed):
    """The frame at the position, which moves behind it; None if more bytes are needed."""
    cdef const uint8_t* at = stream.data + stream.pos
    cdef int64_t there = stream.size - stream.pos
    cdef int64_t size, start, end
    cdef uint32_t channel
    cdef uint8_t kind
    cdef object item
    if there < FRAME_HEADER:
        needed[0] = OVERHEAD
        return None
    kind = at[0]
    channel = read16(at + 1)
    size = read32(at + 3)
    start = stream.pos + FRAME_HEADER
    end = start + size
    if (
        size <= stream.limit
        and (kind == METHOD or kind == HEADER or kind == BODY or (kind == HEARTBEAT and not size))
    ):
        if there < size + OVERHEAD:
            needed[0] = size + OVERHEAD
            return None
        if at[FRAME_HEADER + size] == END:
            if kind == METHOD:
                item = read_method(source, start, end, channel)
                if item is None:
                    item = decode_method_at(source, start, end, channel)
            elif kind == BODY:
                if size < VIEW_SIZE:
                    item = ContentBody(channel, source[start:end])
                else:
                    item = ContentBody(channel, memoryview(source)[start:end])
            elif kind == HEARTBEAT:
                item = Heartbeat(channel)
            elif size >= CONTENT_HEADER + 2:
                at += FRAME_HEADER
                item = ContentHeader(
                    channel, read16(at), read64(at + 4), source[start + CONTENT_HEADER : end]
                )
            else:
                item = None
            if item is not None:
                stream.pos = end + 1
                return item
    item, size = _frames.decode_frame(source, stream.pos, stream.limit)  # says what is wrong
    raise AssertionError(f"the twins disagree on a frame: {item!r}, {size} bytes")


def decode_frames(data, offset, frame_max, delivery_class=Delivery):
    """`pure.decode_frames`."""
    cdef Stream stream
    cdef int64_t largest
    cdef int64_t needed = 0
    cdef bint plain
    cdef object item
    cdef list items
    if type(data) is not bytes or not as_size(offset, &stream.pos) or not as_size(
        frame_max, &largest
    ):
        return _frames.decode_frames(data, offset, frame_max, delivery_class)
    plain = is_plain(delivery_class)
    items = []
    stream.data = <const uint8_t*>PyBytes_AS_STRING(data)
    stream.size = PyBytes_GET_SIZE(data)
    stream.limit = largest - OVERHEAD if largest else NO_LIMIT
    while True:
        item = None
        if stream.size - stream.pos >= 12 and stream.data[stream.pos] == METHOD:
            item = whole_message(&stream, delivery_class, plain)
        if item is None:
            try:
                item = single_frame(&stream, data, &needed)
            except DecodeError:
                if items:
                    return items, stream.pos, 0
                raise
            if item is None:
                return items, stream.pos, needed
        PyList_Append(items, item)


def decode_only(data, frame_max):
    """`pure.decode_only`."""
    cdef const uint8_t* start
    cdef int64_t size, largest
    if type(data) is bytes and as_size(frame_max, &largest):
        start = <const uint8_t*>PyBytes_AS_STRING(data)
        size = PyBytes_GET_SIZE(data)
        if (
            size >= OVERHEAD
            and start[0] == METHOD
            and <int64_t>read32(start + 3) + OVERHEAD == size
            and start[size - 1] == END
            and (not largest or size <= largest)
        ):
            item = read_method(data, FRAME_HEADER, size - 1, read16(start + 1))
            if item is not None:
                return item
    return _frames.decode_only(data, frame_max)


cdef inline bint is_same(PyObject* one, PyObject* other) except -1:
    """Whether two slots have equal values."""
    if one == other:
        return True
    return one != NULL and <object>one == <object>other
