# A publish, from its arguments to the connection's queue. Part of _speedups.pyx.
#
# Nothing in here runs Python code between the first change and the last one, so that no other
# thread and no signal handler ever sees a half of it.

cdef struct Publishing:
    Py_ssize_t state
    Py_ssize_t number
    Py_ssize_t connection
    Py_ssize_t confirms
    Py_ssize_t last_exchange
    Py_ssize_t last_routing_key
    Py_ssize_t names_vary
    Py_ssize_t out
    Py_ssize_t bytes_queued
    Py_ssize_t bytes_sent
    Py_ssize_t limits
    Py_ssize_t acks
    Py_ssize_t frame_max
    Py_ssize_t noted
    Py_ssize_t tag
    Py_ssize_t open
    Py_ssize_t delivery_tag
    Py_ssize_t position
    Py_ssize_t raw_properties
    Py_ssize_t outcome
    Py_ssize_t returned
    Py_ssize_t waiters
    Py_ssize_t window
    Py_ssize_t in_flight

# Where the objects of a publish have what is needed of them, and the last class of each kind that
# was seen: there is one in a process, but for the publications of the two clients.
cdef Publishing _at
cdef object _is_open = None
cdef object _channel_class = None
cdef object _connection_class = None
cdef object _limits_class = None
cdef object _acks_class = None
cdef object _tracker_class = None
cdef object _publication_class = None
cdef object _window_class = None


cdef int look_at_channel(object kind) except -1:
    global _at, _channel_class, _is_open
    cdef Publishing at = _at  # all offsets of a class, or none
    at.state = slot_offset(kind, "state")
    at.number = slot_offset(kind, "number")
    at.connection = slot_offset(kind, "_connection")
    at.confirms = slot_offset(kind, "confirms")
    at.last_exchange = slot_offset(kind, "_last_exchange")
    at.last_routing_key = slot_offset(kind, "_last_routing_key")
    at.names_vary = slot_offset(kind, "_names_vary")
    _is_open = kind.OPEN
    _at = at
    _channel_class = kind
    return 0


cdef int look_at_connection(object connection) except -1:
    global _at, _connection_class, _limits_class, _acks_class
    cdef Publishing at = _at
    kind = type(connection)
    limits = type(connection.limits)
    acks = type(connection.acks)
    at.out = slot_offset(kind, "out")
    at.bytes_queued = slot_offset(kind, "bytes_queued")
    at.bytes_sent = slot_offset(kind, "bytes_sent")
    at.limits = slot_offset(kind, "limits")
    at.acks = slot_offset(kind, "acks")
    at.frame_max = slot_offset(limits, "frame_max")
    at.noted = slot_offset(acks, "noted")
    _at = at
    _limits_class = limits
    _acks_class = acks
    _connection_class = kind
    return 0


cdef int look_at_publication(object confirms, object publication) except -1:
    global _at, _tracker_class, _publication_class, _window_class
    cdef Publishing at = _at
    tracker = type(confirms)
    window = _window_class
    at.tag = slot_offset(tracker, "_tag")
    at.open = slot_offset(tracker, "_open")
    kind = type(publication)
    at.delivery_tag = slot_offset(kind, "delivery_tag")
    at.position = slot_offset(kind, "position")
    at.raw_properties = slot_offset(kind, "raw_properties")
    at.outcome = slot_offset(kind, "outcome")
    at.returned = slot_offset(kind, "returned")
    at.waiters = slot_offset(kind, "waiters")
    at.window = slot_offset(kind, "window")
    if publication.window is not None:
        window = type(publication.window)
        at.in_flight = slot_offset(window, "in_flight")
    _at = at
    _tracker_class = tracker
    _window_class = window
    _publication_class = kind
    return 0


cdef inline bint is_text(object value, PyObject* other) except -1:
    """Whether a string is the same as what a slot has."""
    return <PyObject*>value == other or (other != NULL and value == <object>other)


cdef inline bint slot_size(PyObject* self, Py_ssize_t offset, int64_t* size) noexcept:
    """Whether the slot has an ordinary int, as `as_size` says it."""
    cdef PyObject* value = get(<object>self, offset)
    return value != NULL and as_size(<object>value, size)


cdef inline int number_publish(
    object confirms,
    object publication,
    object position,
    object raw_properties,
    int64_t tag,
    int64_t in_flight,
) except -1:
    """Give a publish its number, its position and its place among the open ones.

    Args:
        tag: of the last one.
        in_flight: how many of its window are open.
    """
    cdef PyObject* window = get(publication, _at.window)
    number = tag + 1
    PyDict_SetItem(<dict>get(confirms, _at.open), number, publication)
    replace(confirms, _at.tag, number)
    replace(publication, _at.delivery_tag, number)
    replace(publication, _at.position, position)
    replace(publication, _at.raw_properties, raw_properties)
    if <object>window is not None:
        replace(<object>window, _at.in_flight, in_flight + 1)
    return 0


cdef inline bint is_countable(
    object confirms, object publication, int64_t* tag, int64_t* in_flight
) except -1:
    """Whether a publish and its tracker are of the ordinary kind; what `number_publish` takes."""
    cdef PyObject* value
    if publication is None or confirms is None:
        return publication is confirms
    if type(publication) is not _publication_class or type(confirms) is not _tracker_class:
        look_at_publication(confirms, publication)
    value = get(publication, _at.window)
    if value == NULL:
        return False
    if <object>value is not None:
        if type(<object>value) is not _window_class:
            look_at_publication(confirms, publication)
        if not slot_size(value, _at.in_flight, in_flight):
            return False
    value = get(confirms, _at.open)
    return (
        value != NULL
        and type(<object>value) is dict
        and slot_size(<PyObject*>confirms, _at.tag, tag)
    )


cdef int64_t ordinary_publish(
    object channel,
    object exchange,
    object routing_key,
    object raw_properties,
    object body,
    object mandatory,
    object publication,
) except -2:
    """`queue_publish`, where nobody else is at it."""
    cdef int64_t queued, sent
    cdef int64_t tag = 0
    cdef int64_t in_flight = 0
    cdef object connection, confirms, encoded
    cdef PyObject* number = get(channel, _at.number)
    cdef PyObject* tracker = get(channel, _at.confirms)
    cdef PyObject* value = get(channel, _at.connection)
    if (
        get(channel, _at.state) != <PyObject*>_is_open
        or number == NULL
        or tracker == NULL
        or value == NULL
    ):
        return -1
    connection = <object>value
    if type(connection) is not _connection_class:
        look_at_connection(connection)
    value = get(connection, _at.acks)
    if (
        value == NULL
        or type(<object>value) is not _acks_class
        or not is_false(get(<object>value, _at.noted))
    ):
        return -1
    confirms = <object>tracker
    if not is_countable(confirms, publication, &tag, &in_flight):
        return -1
    value = get(connection, _at.limits)
    if value == NULL or type(<object>value) is not _limits_class:
        return -1
    value = get(<object>value, _at.frame_max)
    if value == NULL:
        return -1
    encoded = ordinary_encoded_publish(
        <object>number,
        exchange,
        routing_key,
        mandatory,
        False,
        raw_properties,
        body,
        <object>value,
    )
    value = get(connection, _at.out)
    if (
        encoded is None
        or value == NULL
        or type(<object>value) is not list
        or not slot_size(<PyObject*>connection, _at.bytes_queued, &queued)
        or not slot_size(<PyObject*>connection, _at.bytes_sent, &sent)
    ):
        return -1
    PyList_Append(<list>value, encoded)
    queued += PyBytes_GET_SIZE(encoded)
    position = queued
    replace(connection, _at.bytes_queued, position)
    if not (
        is_text(routing_key, get(channel, _at.last_routing_key))
        and is_text(exchange, get(channel, _at.last_exchange))
    ):
        replace(
            channel,
            _at.names_vary,
            get(channel, _at.last_exchange) != <PyObject*>None,
        )
        replace(channel, _at.last_exchange, exchange)
        replace(channel, _at.last_routing_key, routing_key)
    if publication is not None:
        number_publish(confirms, publication, position, raw_properties, tag, in_flight)
    return queued - sent


def queue_publish(
    lock, channel, exchange, routing_key, raw_properties, body, mandatory, publication
):
    """`pure.queue_publish`."""
    if type(channel) is not _channel_class:
        look_at_channel(type(channel))
    if lock is None:
        return ordinary_publish(
            channel, exchange, routing_key, raw_properties, body, mandatory, publication
        )
    if lock._is_owned():
        return -1
    lock.acquire()
    try:
        return ordinary_publish(
            channel, exchange, routing_key, raw_properties, body, mandatory, publication
        )
    finally:
        lock.release()


# -- confirms -------------------------------------------------------------------------------------

cdef int64_t confirm_between(
    dict publications, int64_t number, int64_t last, object outcome, list settled
) except -1:
    """Confirm what is ordinary; the first number that is not, `last + 1` if there is none."""
    cdef PyObject* found
    cdef object publication
    while number <= last:
        key = number
        found = PyDict_GetItemWithError(publications, key)
        if found != NULL:
            publication = <object>found
            if (
                type(publication) is not _publication_class
                or get(publication, _at.returned) != <PyObject*>None
            ):
                return number
            PyList_Append(settled, publication)
            PyDict_DelItem(publications, key)
            replace(publication, _at.outcome, outcome)
        number += 1
    return last + 1


def confirm(publications, first, last, outcome, settled):
    """`pure.confirm`."""
    cdef int64_t number, end
    if (
        type(publications) is dict
        and type(settled) is list
        and as_size(first, &number)
        and as_size(last, &end)
    ):
        first = confirm_between(<dict>publications, number, end, outcome, <list>settled)
        if first > end:
            return first
    return _publishing.confirm(publications, first, last, outcome, settled)


def confirm_run(items, start, channel, publications, low, last, outcome, settled):
    """`pure.confirm_run`."""
    cdef int64_t position, number, lowest, end, tag, first
    cdef object item
    cdef PyObject* multiple
    if not (
        type(items) is list
        and type(publications) is dict
        and type(settled) is list
        and as_size(start, &position)
        and as_size(channel, &number)
        and as_size(low, &lowest)
        and as_size(last, &end)
    ):
        return _publishing.confirm_run(
            items, start, channel, publications, low, last, outcome, settled
        )
    while position < PyList_GET_SIZE(items):
        item = <object>PyList_GET_ITEM(items, position)
        if type(item) is not BasicAck:
            break
        multiple = get(item, _ack_multiple)
        if not (
            slot_size(<PyObject*>item, _ack_channel, &first)
            and first == number
            and slot_size(<PyObject*>item, _ack_tag, &tag)
            and 0 < tag <= end
            and (is_true(multiple) or is_false(multiple))
        ):
            break
        first = lowest if is_true(multiple) else tag
        if (
            tag >= first
            and confirm_between(<dict>publications, first, tag, outcome, <list>settled) <= tag
        ):
            break
        if tag >= lowest >= first:
            lowest = tag + 1
        position += 1
    return position, lowest


def count_confirmed(publications, window, confirmed):
    """`pure.count_confirmed`."""
    cdef Py_ssize_t at
    cdef object publication
    if type(publications) is not list:
        return _publishing.count_confirmed(publications, window, confirmed)
    for at in range(PyList_GET_SIZE(publications)):
        publication = <object>PyList_GET_ITEM(publications, at)
        if type(publication) is not _publication_class:
            return at + _publishing.count_confirmed(publications[at:], window, confirmed)
        if (
            get(publication, _at.window) != <PyObject*>window
            or get(publication, _at.outcome) != <PyObject*>confirmed
            or get(publication, _at.waiters) != <PyObject*>None
        ):
            return at
    return PyList_GET_SIZE(publications)
