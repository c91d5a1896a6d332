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
    global _channel_class, _is_open
    _at.state = slot_offset(kind, "state")
    _at.number = slot_offset(kind, "number")
    _at.connection = slot_offset(kind, "_connection")
    _at.confirms = slot_offset(kind, "confirms")
    _at.last_exchange = slot_offset(kind, "_last_exchange")
    _at.last_routing_key = slot_offset(kind, "_last_routing_key")
    _at.names_vary = slot_offset(kind, "_names_vary")
    _is_open = kind.OPEN
    _channel_class = kind
    return 0


cdef int look_at_connection(object connection) except -1:
    global _connection_class, _limits_class, _acks_class
    kind = type(connection)
    _at.out = slot_offset(kind, "out")
    _at.bytes_queued = slot_offset(kind, "bytes_queued")
    _at.bytes_sent = slot_offset(kind, "bytes_sent")
    _at.limits = slot_offset(kind, "limits")
    _at.acks = slot_offset(kind, "acks")
    _limits_class = type(connection.limits)
    _at.frame_max = slot_offset(_limits_class, "frame_max")
    _acks_class = type(connection.acks)
    _at.noted = slot_offset(_acks_class, "noted")
    _connection_class = kind
    return 0


cdef int look_at_publication(object confirms, object publication) except -1:
    global _tracker_class, _publication_class, _window_class
    _tracker_class = type(confirms)
    _at.tag = slot_offset(_tracker_class, "_tag")
    _at.open = slot_offset(_tracker_class, "_open")
    kind = type(publication)
    _at.delivery_tag = slot_offset(kind, "delivery_tag")
    _at.position = slot_offset(kind, "position")
    _at.raw_properties = slot_offset(kind, "raw_properties")
    _at.outcome = slot_offset(kind, "outcome")
    _at.returned = slot_offset(kind, "returned")
    _at.waiters = slot_offset(kind, "waiters")
    _at.window = slot_offset(kind, "window")
    if publication.window is not None:
        _window_class = type(publication.window)
        _at.in_flight = slot_offset(_window_class, "in_flight")
    _publication_class = kind
    return 0


cdef inline bint is_text(object value, PyObject* other) except -1:
    """Whether a string is the same as what a slot has."""
    return <PyObject*>value == other or (other != NULL and value == <object>other)


cdef inline int number_publish(
    object confirms, object publication, object position, object raw_properties
) except -1:
    """Give a publish its number, its position and its place among the open ones."""
    cdef uint64_t tag
    cdef PyObject* window = get(publication, _at.window)
    as_unsigned(<object>get(confirms, _at.tag), &tag)
    number = tag + 1
    PyDict_SetItem(<dict>get(confirms, _at.open), number, publication)
    replace(confirms, _at.tag, number)
    replace(publication, _at.delivery_tag, number)
    replace(publication, _at.position, position)
    replace(publication, _at.raw_properties, raw_properties)
    if <object>window is not None:
        as_unsigned(<object>get(<object>window, _at.in_flight), &tag)
        replace(<object>window, _at.in_flight, tag + 1)
    return 0


cdef inline bint is_countable(object confirms, object publication) except -1:
    """Whether a publish and its tracker are of the ordinary kind."""
    cdef PyObject* value
    if publication is None or confirms is None:
        return publication is confirms
    if type(publication) is not _publication_class or type(confirms) is not _tracker_class:
        look_at_publication(confirms, publication)
    value = get(publication, _at.window)
    if value == NULL:
        return False
    if <object>value is not None and type(<object>value) is not _window_class:
        look_at_publication(confirms, publication)
    value = get(confirms, _at.open)
    return value != NULL and type(<object>value) is dict


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
    cdef object connection, confirms, encoded
    cdef PyObject* value
    if get(channel, _at.state) != <PyObject*>_is_open:
        return -1
    connection = <object>get(channel, _at.connection)
    if type(connection) is not _connection_class:
        look_at_connection(connection)
    value = get(connection, _at.acks)
    if type(<object>value) is not _acks_class or not is_false(get(<object>value, _at.noted)):
        return -1
    confirms = <object>get(channel, _at.confirms)
    if not is_countable(confirms, publication):
        return -1
    value = get(connection, _at.limits)
    if type(<object>value) is not _limits_class:
        return -1
    encoded = ordinary_encoded_publish(
        <object>get(channel, _at.number),
        exchange,
        routing_key,
        mandatory,
        False,
        raw_properties,
        body,
        <object>get(<object>value, _at.frame_max),
    )
    value = get(connection, _at.out)
    if (
        encoded is None
        or value == NULL
        or type(<object>value) is not list
        or not as_size(<object>get(connection, _at.bytes_queued), &queued)
        or not as_size(<object>get(connection, _at.bytes_sent), &sent)
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
            channel, _at.names_vary, <object>get(channel, _at.last_exchange) is not None
        )
        replace(channel, _at.last_exchange, exchange)
        replace(channel, _at.last_routing_key, routing_key)
    if publication is not None:
        number_publish(confirms, publication, position, raw_properties)
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
            as_size(<object>get(item, _ack_channel), &first)
            and first == number
            and as_size(<object>get(item, _ack_tag), &tag)
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
