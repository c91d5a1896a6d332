# Messages and acknowledgements into bytes: the twin of encoders.py. Part of _speedups.pyx.

cdef enum:
    ACK_FRAME = 21  # bytes; also of nack and reject

cdef int64_t JOINED_MAX = _encoders.JOIN_MAX


# -- contents -------------------------------------------------------------------------------------

cdef struct Content:
    const char* raw_properties
    const char* body
    uint32_t header_size
    uint32_t body_size
    Py_ssize_t size  # of its frames


cdef inline bint as_content(
    object raw_properties, object body, object frame_max, Content* content
) noexcept:
    """Whether a content is one piece: a header frame and at most one body frame."""
    cdef int64_t largest, limit, header_size, body_size
    if (
        type(raw_properties) is not bytes
        or type(body) is not bytes
        or not as_size(frame_max, &largest)
    ):
        return False
    limit = largest - OVERHEAD if largest else 0xFFFFFFFFLL
    header_size = CONTENT_HEADER + PyBytes_GET_SIZE(raw_properties)
    body_size = PyBytes_GET_SIZE(body)
    if header_size > limit or body_size > limit or body_size > JOINED_MAX:
        return False
    content.raw_properties = PyBytes_AS_STRING(raw_properties)
    content.body = PyBytes_AS_STRING(body)
    content.header_size = <uint32_t>header_size
    content.body_size = <uint32_t>body_size
    content.size = <Py_ssize_t>(OVERHEAD + header_size + (OVERHEAD + body_size if body_size else 0))
    return True


cdef inline uint8_t* write_start(
    uint8_t* out, uint32_t channel, Py_ssize_t frame_size, uint32_t key
) noexcept:
    """The header of a method frame of `frame_size` bytes in all, and the method's number."""
    out[0] = METHOD
    out = write16(out + 1, channel)
    out = write32(out, <uint32_t>(frame_size - OVERHEAD))
    return write32(out, key)


cdef inline void write_content(uint8_t* out, uint32_t channel, const Content* content) noexcept:
    """The end of the method's frame, and the frames of a content."""
    cdef Py_ssize_t size = content.header_size - CONTENT_HEADER
    out = write32(out, END_THEN_HEADER | channel)
    out = write32(out, content.header_size)
    out = write32(out, BASIC_CLASS)
    out = write64(out, content.body_size)
    memcpy(out, content.raw_properties, size)
    out += size
    if content.body_size:
        out = write32(out, END_THEN_BODY | channel)
        out = write32(out, content.body_size)
        memcpy(out, content.body, content.body_size)
        out += content.body_size
    out[0] = END


cdef inline object ordinary_encoded_publish(
    object channel,
    object exchange,
    object routing_key,
    object mandatory,
    object immediate,
    object raw_properties,
    object body,
    object frame_max,
):
    """`encode_publish`; None where the twin has to see it."""
    cdef uint32_t number
    cdef const char* exchange_text
    cdef const char* key_text
    cdef Py_ssize_t exchange_size, key_size, size
    cdef uint8_t mandatory_bit, immediate_bit
    cdef Content content
    cdef object encoded
    cdef uint8_t* out
    if not (
        as_channel(channel, &number)
        and as_shortstr(exchange, &exchange_text, &exchange_size)
        and as_shortstr(routing_key, &key_text, &key_size)
        and as_bit(mandatory, &mandatory_bit)
        and as_bit(immediate, &immediate_bit)
        and as_content(raw_properties, body, frame_max, &content)
    ):
        return None
    size = OVERHEAD + 4 + 2 + 1 + exchange_size + 1 + key_size + 1
    encoded = PyBytes_FromStringAndSize(NULL, size + content.size)
    out = <uint8_t*>PyBytes_AS_STRING(encoded)
    out = write_start(out, number, size, PUBLISH)
    out = write16(out, 0)
    out = write_shortstr(out, exchange_text, exchange_size)
    out = write_shortstr(out, key_text, key_size)
    out[0] = mandatory_bit | immediate_bit << 1
    write_content(out + 1, number, &content)
    return encoded


def encode_publish(
    channel, exchange, routing_key, mandatory, immediate, raw_properties, body, frame_max
):
    """`pure.encode_publish`."""
    encoded = ordinary_encoded_publish(
        channel, exchange, routing_key, mandatory, immediate, raw_properties, body, frame_max
    )
    if encoded is not None:
        return encoded
    return _encoders.encode_publish(
        channel, exchange, routing_key, mandatory, immediate, raw_properties, body, frame_max
    )


def encode_deliver(
    channel,
    consumer_tag,
    delivery_tag,
    redelivered,
    exchange,
    routing_key,
    raw_properties,
    body,
    frame_max,
):
    """`pure.encode_deliver`."""
    cdef uint32_t number
    cdef uint64_t tag
    cdef const char* consumer_text
    cdef const char* exchange_text
    cdef const char* key_text
    cdef Py_ssize_t consumer_size, exchange_size, key_size, size
    cdef uint8_t bit
    cdef Content content
    cdef object encoded
    cdef uint8_t* out
    if not (
        as_channel(channel, &number)
        and as_shortstr(consumer_tag, &consumer_text, &consumer_size)
        and as_unsigned(delivery_tag, &tag)
        and as_bit(redelivered, &bit)
        and as_shortstr(exchange, &exchange_text, &exchange_size)
        and as_shortstr(routing_key, &key_text, &key_size)
        and as_content(raw_properties, body, frame_max, &content)
    ):
        return _encoders.encode_deliver(
            channel,
            consumer_tag,
            delivery_tag,
            redelivered,
            exchange,
            routing_key,
            raw_properties,
            body,
            frame_max,
        )
    size = OVERHEAD + 4 + 1 + consumer_size + 8 + 1 + 1 + exchange_size + 1 + key_size
    encoded = PyBytes_FromStringAndSize(NULL, size + content.size)
    out = <uint8_t*>PyBytes_AS_STRING(encoded)
    out = write_start(out, number, size, DELIVER)
    out = write_shortstr(out, consumer_text, consumer_size)
    out = write64(out, tag)
    out[0] = bit
    out = write_shortstr(out + 1, exchange_text, exchange_size)
    out = write_shortstr(out, key_text, key_size)
    write_content(out, number, &content)
    return encoded


def encode_get_ok(
    channel,
    delivery_tag,
    redelivered,
    exchange,
    routing_key,
    message_count,
    raw_properties,
    body,
    frame_max,
):
    """`pure.encode_get_ok`."""
    cdef uint32_t number
    cdef uint64_t tag, count
    cdef const char* exchange_text
    cdef const char* key_text
    cdef Py_ssize_t exchange_size, key_size, size
    cdef uint8_t bit
    cdef Content content
    cdef object encoded
    cdef uint8_t* out
    if not (
        as_channel(channel, &number)
        and as_unsigned(delivery_tag, &tag)
        and as_bit(redelivered, &bit)
        and as_shortstr(exchange, &exchange_text, &exchange_size)
        and as_shortstr(routing_key, &key_text, &key_size)
        and as_unsigned(message_count, &count)
        and count <= 0xFFFFFFFFU
        and as_content(raw_properties, body, frame_max, &content)
    ):
        return _encoders.encode_get_ok(
            channel,
            delivery_tag,
            redelivered,
            exchange,
            routing_key,
            message_count,
            raw_properties,
            body,
            frame_max,
        )
    size = OVERHEAD + 4 + 8 + 1 + 1 + exchange_size + 1 + key_size + 4
    encoded = PyBytes_FromStringAndSize(NULL, size + content.size)
    out = <uint8_t*>PyBytes_AS_STRING(encoded)
    out = write_start(out, number, size, GET_OK)
    out = write64(out, tag)
    out[0] = bit
    out = write_shortstr(out + 1, exchange_text, exchange_size)
    out = write_shortstr(out, key_text, key_size)
    out = write32(out, <uint32_t>count)
    write_content(out, number, &content)
    return encoded


# -- settling -------------------------------------------------------------------------------------

cdef inline object settling(uint32_t channel, uint32_t key, uint64_t tag, uint8_t bits):
    cdef object encoded = PyBytes_FromStringAndSize(NULL, ACK_FRAME)
    cdef uint8_t* out = <uint8_t*>PyBytes_AS_STRING(encoded)
    out = write_start(out, channel, ACK_FRAME, key)
    out = write64(out, tag)
    out[0] = bits
    out[1] = END
    return encoded


def encode_ack(channel, delivery_tag, multiple):
    """`pure.encode_ack`."""
    cdef uint32_t number
    cdef uint64_t tag
    cdef uint8_t bit
    if (
        as_channel(channel, &number)
        and as_unsigned(delivery_tag, &tag)
        and as_bit(multiple, &bit)
    ):
        return settling(number, ACK, tag, bit)
    return _encoders.encode_ack(channel, delivery_tag, multiple)


def encode_nack(channel, delivery_tag, multiple, requeue):
    """`pure.encode_nack`."""
    cdef uint32_t number
    cdef uint64_t tag
    cdef uint8_t bit, requeue_bit
    if (
        as_channel(channel, &number)
        and as_unsigned(delivery_tag, &tag)
        and as_bit(multiple, &bit)
        and as_bit(requeue, &requeue_bit)
    ):
        return settling(number, NACK, tag, bit | requeue_bit << 1)
    return _encoders.encode_nack(channel, delivery_tag, multiple, requeue)


def encode_reject(channel, delivery_tag, requeue):
    """`pure.encode_reject`."""
    cdef uint32_t number
    cdef uint64_t tag
    cdef uint8_t bit
    if (
        as_channel(channel, &number)
        and as_unsigned(delivery_tag, &tag)
        and as_bit(requeue, &bit)
    ):
        return settling(number, REJECT, tag, bit)
    return _encoders.encode_reject(channel, delivery_tag, requeue)
