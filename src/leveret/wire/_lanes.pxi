# Deliveries to their owners, acks into frames: the twin of lanes.py. Part of _speedups.pyx.

cdef enum:
    AHEAD = 8  # messages: whose objects are asked for while those before them are handled
    NEAR = 4  # the same, for what those objects refer to

cdef object _Lane = Lane
cdef object _Inbox = Inbox

@cython.auto_pickle(False)
cdef class Unsettled:
    """`pure.Unsettled`, with its numbers in one line of the processor's cache, or two.

    As slots of Python they took the same again, and each tag was an object that is let go of when
    the next one comes.
    """

    # those that are read and written for each delivery come first
    cdef public uint64_t last, below, front
    cdef public uint32_t count, prefetch
    cdef public bint gathers, plain
    cdef public uint16_t channel


cdef Py_ssize_t _lane_tag = slot_offset(Lane, "consumer_tag")
cdef Py_ssize_t _lane_owner = slot_offset(Lane, "owner")
cdef Py_ssize_t _lane_unsettled = slot_offset(Lane, "unsettled")
cdef Py_ssize_t _lane_siblings = slot_offset(Lane, "siblings")

cdef struct InboxSlots:
    Py_ssize_t acks
    Py_ssize_t check_at
    Py_ssize_t deliveries
    Py_ssize_t full
    Py_ssize_t no_ack
    Py_ssize_t unsettled

cdef InboxSlots _inbox
_inbox.acks = slot_offset(Inbox, "acks")
_inbox.check_at = slot_offset(Inbox, "check_at")
_inbox.deliveries = slot_offset(Inbox, "deliveries")
_inbox.full = slot_offset(Inbox, "full")
_inbox.no_ack = slot_offset(Inbox, "no_ack")
_inbox.unsettled = slot_offset(Inbox, "unsettled")

# The last class of each kind that was seen: there is one in a process.
cdef object _unsettled_class = Unsettled
cdef object _inbox_class = Inbox


cdef inline bint is_unsettled(PyObject* value) except -1:
    global _unsettled_class
    if value == NULL:
        return False
    kind = type(<object>value)
    if kind is _unsettled_class:
        return True
    if not issubclass(kind, Unsettled):
        return False
    _unsettled_class = kind
    return True


cdef inline bint is_inbox(PyObject* value) except -1:
    global _inbox_class
    if value == NULL:
        return False
    kind = type(<object>value)
    if kind is _inbox_class:
        return True
    if not issubclass(kind, Inbox):
        return False
    _inbox_class = kind
    return True


cdef inline bint slot_number(PyObject* self, Py_ssize_t offset, uint64_t* number) noexcept:
    """Whether the slot has an ordinary int of 64 bits, not negative."""
    cdef PyObject* value = get(<object>self, offset)
    return value != NULL and as_unsigned(<object>value, number)


cdef inline bint is_number(PyObject* one, PyObject* other) noexcept:
    """Whether two slots have the same ordinary int."""
    cdef uint64_t number, expected
    return one != NULL and other != NULL and (
        one == other
        or (
            as_unsigned(<object>one, &number)
            and as_unsigned(<object>other, &expected)
            and number == expected
        )
    )


# -- deliveries -----------------------------------------------------------------------------------

cdef inline PyObject* lane_of(object item, list lanes) noexcept:
    """The lane of a delivery's channel, borrowed; NULL where there is none."""
    cdef PyObject* channel = get(item, _content.channel)
    cdef PyObject* lane
    cdef int64_t number
    if channel == NULL or not as_size(<object>channel, &number) or number >= PyList_GET_SIZE(lanes):
        return NULL
    lane = PyList_GET_ITEM(lanes, number)
    return lane if type(<object>lane) is _Lane else NULL


cdef inline void expect_lanes(
    list items, Py_ssize_t position, list lanes, object kind
) noexcept:
    """Ask for the lanes of the deliveries to come, and for what they refer to."""
    cdef Py_ssize_t size = PyList_GET_SIZE(items)
    cdef PyObject* lane
    cdef PyObject* item
    if position + AHEAD < size:
        item = PyList_GET_ITEM(items, position + AHEAD)
        if type(<object>item) is kind:
            lane = lane_expected(<object>item, lanes)
            if lane != NULL:
                prefetch(lane, 0)
    if position + NEAR < size:
        item = PyList_GET_ITEM(items, position + NEAR)
        if type(<object>item) is kind:
            lane = lane_of(<object>item, lanes)
            if lane != NULL:
                prefetch(get(<object>lane, _lane_owner), 0)
                prefetch(get(<object>lane, _lane_unsettled), 0)
                prefetch(get(<object>lane, _lane_unsettled), 56)


cdef inline PyObject* lane_expected(object item, list lanes) noexcept:
    """As `lane_of`, without a look at the lane."""
    cdef PyObject* channel = get(item, _content.channel)
    cdef int64_t number
    if channel == NULL or not as_size(<object>channel, &number) or number >= PyList_GET_SIZE(lanes):
        return NULL
    return PyList_GET_ITEM(lanes, number)


def claim(items, start, lanes):
    """`pure.claim`."""
    cdef Py_ssize_t position, first
    cdef int64_t begin, number
    cdef uint64_t following_tag
    cdef uint64_t tag = 0
    cdef object item, kind
    cdef Unsettled unsettled  # held: who owned a delivery may be collected here, and do anything
    cdef PyObject* lane
    cdef PyObject* found
    cdef PyObject* name
    cdef PyObject* owner
    cdef PyObject* following
    cdef PyObject* only = NULL
    cdef bint mixed = False
    if type(items) is not list or type(lanes) is not list or not as_size(start, &begin):
        return _lanes.claim(items, start, lanes)
    position = first = <Py_ssize_t>begin
    if position >= PyList_GET_SIZE(items):
        return position, None
    kind = type(<object>PyList_GET_ITEM(items, position))
    if not is_plain(kind):
        return _lanes.claim(items, start, lanes)
    while position < PyList_GET_SIZE(items):
        item = <object>PyList_GET_ITEM(items, position)
        if type(item) is not kind:
            break
        expect_lanes(items, position, lanes, kind)
        lane = lane_of(item, lanes)
        name = get(item, _delivery.consumer_tag)
        if lane == NULL or name == NULL:
            break
        found = get(<object>lane, _lane_tag)
        if found != name:
            if not is_same(found, name):
                found = get(<object>lane, _lane_siblings)
                if found == NULL or type(<object>found) is not dict:
                    break
                found = PyDict_GetItemWithError(<dict>found, <object>name)
                if found == NULL or type(<object>found) is not _Lane:
                    break
                lane = found
                as_size(<object>get(item, _content.channel), &number)
                lanes[number] = <object>lane
            replace(<object>lane, _lane_tag, <object>name)  # the next one has the same object
        owner = get(<object>lane, _lane_owner)
        found = get(<object>lane, _lane_unsettled)
        if owner == NULL or found == NULL:
            break
        if <object>found is None:
            unsettled = None
        elif not is_unsettled(found):
            return _lanes.claim(items, start, lanes)
        elif not slot_number(<PyObject*>item, _delivery.delivery_tag, &tag):
            break
        else:
            unsettled = <Unsettled>found
            if tag != unsettled.last + 1:
                if tag <= unsettled.last or unsettled.below != unsettled.last:
                    break
                unsettled.below = tag - 1
        if position == first:
            only = owner
        elif owner != only:
            mixed = True
        replace(item, _delivery.owner, <object>owner)
        position += 1
        while position < PyList_GET_SIZE(items):  # a run of the same consumer, with fewer steps
            following = PyList_GET_ITEM(items, position)
            if (
                type(<object>following) is not kind
                or get(<object>following, _delivery.consumer_tag) != name
                or not is_number(
                    get(<object>following, _content.channel), get(item, _content.channel)
                )
            ):
                break
            if unsettled is not None:
                if (
                    not slot_number(following, _delivery.delivery_tag, &following_tag)
                    or following_tag != tag + 1
                ):
                    break
                tag = following_tag
            item = <object>following
            replace(item, _delivery.owner, <object>owner)
            position += 1
        if unsettled is not None:
            unsettled.last = tag
    if position == first:
        return _lanes.claim(items, start, lanes) if lane_is_odd(lanes, first, items) else (
            position, None
        )
    return position, None if mixed else <object>only


cdef bint lane_is_odd(list lanes, Py_ssize_t position, list items):
    """Whether a delivery has a lane of a kind that only the twin knows."""
    cdef PyObject* lane = lane_expected(<object>PyList_GET_ITEM(items, position), lanes)
    return lane == NULL or (<object>lane is not None and type(<object>lane) is not _Lane)


def deal(deliveries):
    """`pure.deal`."""
    cdef Py_ssize_t position = 0
    cdef object delivery
    cdef PyObject* owner
    cdef PyObject* waiting
    cdef Queue queue  # held, as `claim` holds
    cdef uint64_t check_at
    if type(deliveries) is not list:
        return _lanes.deal(deliveries)
    while position < PyList_GET_SIZE(deliveries):
        delivery = <object>PyList_GET_ITEM(deliveries, position)
        if not is_plain(type(delivery)):
            return _lanes.deal(deliveries[position:])
        position += 1
        owner = get(delivery, _delivery.owner)
        if not is_inbox(owner):
            _lanes.deal([delivery])
            continue
        waiting = get(<object>owner, _inbox.deliveries)
        if waiting == NULL or type(<object>waiting) is not Queue:
            _lanes.deal([delivery])
            continue
        queue = <Queue>waiting
        if (
            slot_number(owner, _inbox.check_at, &check_at)
            and <uint64_t>queue.count + 1 < check_at
        ):
            push(queue, delivery)
        else:
            (<object>owner).receive([delivery])


# -- from who takes deliveries --------------------------------------------------------------------

# Methods in the place of those in Python, which they call where something is out of the ordinary.
# Nothing in here runs Python code between the first change and the last one.

cdef extern from *:
    """
    typedef PyObject *(*leveret_function)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
    static PyMethodDef leveret_ack = {"ack", NULL, METH_FASTCALL | METH_KEYWORDS, NULL};

    /* A method `ack` of a class. */
    static PyObject *leveret_new_ack(PyObject *cls, leveret_function function, const char *doc) {
        leveret_ack.ml_meth = (PyCFunction)(void (*)(void))function;
        leveret_ack.ml_doc = doc;
        return PyDescr_NewMethod((PyTypeObject *)cls, &leveret_ack);
    }
    /* A method `__next__` of a class that becomes its slot: like that of the built-in type. */
    static PyObject *leveret_new_next(PyObject *cls, unaryfunc function, PyObject *like) {
        if (!Py_IS_TYPE(like, &PyWrapperDescr_Type)) {
            PyErr_SetString(PyExc_TypeError, "not a slot");
            return NULL;
        }
        return PyDescr_NewWrapper(
            (PyTypeObject *)cls, ((PyWrapperDescrObject *)like)->d_base, (void *)function);
    }
    /* Call a function of Python as a method, with the arguments as they came. */
    static PyObject *leveret_call_method(
        PyObject *function, PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
        PyObject *method = PyMethod_New(function, self), *result;
        if (method == NULL)
            return NULL;
        result = PyObject_Vectorcall(method, arguments, count, names);
        Py_DECREF(method);
        return result;
    }
    """
    ctypedef object (*AckFunction "leveret_function")(
        object, PyObject* const*, Py_ssize_t, PyObject*
    )
    ctypedef object (*NextFunction "unaryfunc")(object)
    object leveret_new_ack(object, AckFunction, const char*)
    object leveret_new_next(object, NextFunction, object)
    object leveret_call_one "PyObject_CallOneArg"(object, object)
    object leveret_call_method(object, object, PyObject* const*, Py_ssize_t, PyObject*)

cdef Py_ssize_t _acked_noted = slot_offset(Acked, "noted")
cdef Py_ssize_t _acked_waiting = slot_offset(Acked, "waiting")

cdef object _acked_class = Acked  # the last one that was seen: there is one in a process
cdef object _hastened_delivery = None
cdef object _hastened_inbox = None
cdef object _settled = None
cdef object _plain_ack = None
cdef bytes _ack_words = b""

cdef object _hastened_consumer = None
cdef object _plain_next = None
cdef Py_ssize_t _consumer_inbox = 0


cdef inline bint is_acked(PyObject* value) except -1:
    global _acked_class
    if value == NULL:
        return False
    kind = type(<object>value)
    if kind is _acked_class:
        return True
    if not issubclass(kind, Acked):
        return False
    _acked_class = kind
    return True


cdef bint was_acked(object delivery) except -1:
    """The usual ack; False where it is not one, and nothing was done."""
    cdef PyObject* owner = get(delivery, _delivery.owner)
    cdef PyObject* tag = get(delivery, _delivery.delivery_tag)
    cdef PyObject* unsettled
    cdef PyObject* acks
    cdef PyObject* waiting
    if owner == NULL or tag == NULL or type(<object>owner) is not _hastened_inbox:
        return False
    unsettled = get(<object>owner, _inbox.unsettled)
    if not is_unsettled(unsettled):
        return False
    pair = (<object>unsettled, <object>tag)  # before all else: the garbage collector may come
    inbox = <object>owner
    acks = get(inbox, _inbox.acks)
    if not (
        get(delivery, _delivery.owner) == owner
        and is_false(get(inbox, _inbox.no_ack))
        and (<Unsettled>PyTuple_GET_ITEM(pair, 0)).gathers
        and is_acked(acks)
        and is_true(get(<object>acks, _acked_noted))
    ):
        return False
    waiting = get(<object>acks, _acked_waiting)
    if waiting == NULL or type(<object>waiting) is not list:
        return False
    PyList_Append(<list>waiting, pair)
    replace(delivery, _delivery.owner, _settled)
    return True


cdef object hastened_ack(
    object self, PyObject* const* arguments, Py_ssize_t count, PyObject* names
):
    if not count and names == NULL and type(self) is _hastened_delivery and was_acked(self):
        return None
    return leveret_call_method(_plain_ack, self, arguments, count, names)


def hasten_ack(delivery_class, inbox_class, settled):
    """`pure.hasten_ack`."""
    global _hastened_delivery, _hastened_inbox, _settled, _plain_ack, _ack_words
    if _plain_ack is not None or not is_plain(delivery_class) or not issubclass(inbox_class, Inbox):
        return
    _plain_ack = delivery_class.ack
    _hastened_inbox = inbox_class
    _settled = settled
    words = f"ack($self, /, *, multiple=False)\n--\n\n{_plain_ack.__doc__}"
    _ack_words = words.encode()
    delivery_class.ack = leveret_new_ack(delivery_class, hastened_ack, _ack_words)
    _hastened_delivery = delivery_class


cdef object hastened_next(object self):
    cdef PyObject* inbox = get(self, _consumer_inbox)
    cdef PyObject* deliveries
    if is_inbox(inbox):
        deliveries = get(<object>inbox, _inbox.deliveries)
        if (
            is_false(get(<object>inbox, _inbox.full))
            and deliveries != NULL
            and type(<object>deliveries) is Queue
            and (<Queue>deliveries).count
        ):
            return pull(<Queue>deliveries)
    return leveret_call_one(_plain_next, self)


def hasten_next(consumer_class, inbox):
    """`pure.hasten_next`."""
    global _hastened_consumer, _plain_next, _consumer_inbox
    if _hastened_consumer is not None:
        return
    _consumer_inbox = slot_offset(consumer_class, inbox)
    _plain_next = consumer_class.__next__
    _hastened_consumer = consumer_class
    consumer_class.__next__ = leveret_new_next(
        consumer_class, hastened_next, type(iter(())).__next__
    )


# -- acks -----------------------------------------------------------------------------------------

cdef Py_ssize_t settle_lowest(
    list acked, Py_ssize_t at, list touched, uint64_t share, bint* many
) except -1:
    """Count the ordinary acks of one channel from `at` on; the position behind them.

    Sets `many` where they have become so many that they should leave.
    """
    cdef PyObject* pair = PyList_GET_ITEM(acked, at)
    cdef Unsettled unsettled
    cdef uint64_t tag, following
    if not is_pair(pair) or not is_unsettled(PyTuple_GET_ITEM(<object>pair, 0)):
        return at
    unsettled = <Unsettled>PyTuple_GET_ITEM(<object>pair, 0)
    if not (
        unsettled.plain
        and as_unsigned(<object>PyTuple_GET_ITEM(<object>pair, 1), &tag)
        and tag == unsettled.below + 1
        and tag <= unsettled.last
    ):
        return at
    if not unsettled.count:
        PyList_Append(touched, unsettled)
    unsettled.count += 1
    at += 1
    while at < PyList_GET_SIZE(acked):
        pair = PyList_GET_ITEM(acked, at)
        if (
            not is_pair(pair)
            or PyTuple_GET_ITEM(<object>pair, 0) != <PyObject*>unsettled
            or not as_unsigned(<object>PyTuple_GET_ITEM(<object>pair, 1), &following)
            or following != tag + 1
            or following > unsettled.last
        ):
            break
        tag = following
        unsettled.count += 1
        at += 1
    unsettled.below = unsettled.front = tag
    if unsettled.count * share + (unsettled.last - tag) >= unsettled.prefetch:
        many[0] = True
    return at


cdef inline bint is_pair(PyObject* value) noexcept:
    return type(<object>value) is tuple and PyTuple_GET_SIZE(<object>value) == 2


def settle(acked, touched, share):
    """`pure.settle`."""
    cdef list rest = []
    cdef PyObject* pair
    cdef Py_ssize_t at, behind
    cdef uint64_t part
    cdef bint many = False
    if type(acked) is not list or type(touched) is not list or not as_unsigned(share, &part):
        return _lanes.settle(acked, touched, share)
    if PyList_GET_SIZE(acked):
        pair = PyList_GET_ITEM(acked, 0)
        if is_pair(pair) and not is_unsettled(PyTuple_GET_ITEM(<object>pair, 0)):
            return _lanes.settle(acked, touched, share)
    at = 0
    while at < PyList_GET_SIZE(acked):
        if at + AHEAD < PyList_GET_SIZE(acked):
            pair = PyList_GET_ITEM(acked, at + AHEAD)
            if is_pair(pair):
                prefetch(PyTuple_GET_ITEM(<object>pair, 0), 0)
                prefetch(PyTuple_GET_ITEM(<object>pair, 0), 56)
        behind = settle_lowest(acked, at, touched, part, &many)
        if behind == at:
            PyList_Append(rest, <object>PyList_GET_ITEM(acked, at))
            behind += 1
        at = behind
    return rest, many


def encode_acks(touched):
    """`pure.encode_acks`."""
    cdef Py_ssize_t at
    cdef Py_ssize_t frames = 0
    cdef Unsettled unsettled
    cdef bytes encoded
    cdef uint8_t* out
    if type(touched) is not list:
        return _lanes.encode_acks(touched)
    for at in range(PyList_GET_SIZE(touched)):  # before anything changes
        if not is_unsettled(PyList_GET_ITEM(touched, at)):
            return _lanes.encode_acks(touched)
    encoded = PyBytes_FromStringAndSize(NULL, PyList_GET_SIZE(touched) * ACK_FRAME)
    out = <uint8_t*>PyBytes_AS_STRING(encoded)
    for at in range(PyList_GET_SIZE(touched)):
        unsettled = <Unsettled>PyList_GET_ITEM(touched, at)
        if not unsettled.count:  # it has left, or is here twice
            continue
        out = write_start(out, unsettled.channel, ACK_FRAME, ACK)
        out = write64(out, unsettled.front)
        out[0] = unsettled.count > 1
        out[1] = END
        out += 2
        unsettled.count = 0
        frames += 1
    if frames * ACK_FRAME != PyBytes_GET_SIZE(encoded):
        return encoded[: frames * ACK_FRAME]
    return encoded
