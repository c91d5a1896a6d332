# What is known of the objects of an exchange: their classes, and where their slots are. Part of
# _exchange.pyx.

cdef object _acquire = RLock.acquire
cdef object _release = RLock.release
cdef object _monotonic = time.monotonic
cdef object _append = deque.append
cdef object _popleft = deque.popleft
cdef object _encode_method = wire.encode_method
cdef object _queue_publish = wire.queue_publish
cdef object _decode_only = wire.decode_only
cdef object _BasicAck = wire.BasicAck
cdef object _CONFIRMED = Outcome.CONFIRMED
cdef object _OPEN = State.OPEN
cdef object _CHANNEL_OPEN = ChannelState.OPEN
cdef object _NOBODY = NOBODY
cdef object _ONE = 1
cdef double _gather = GATHER

cdef object _RLock = RLock
cdef object _Acks = Acks
cdef object _ClientChannel = ClientChannel
cdef object _Connection = Connection
cdef object _ConfirmTracker = ConfirmTracker
cdef object _Deadline = Deadline
cdef object _Incoming = Incoming
cdef object _Limits = Limits
cdef object _Readiness = Readiness
cdef object _Reply = Reply
cdef object _Request = Request
cdef object _SentMethods = SentMethods
cdef object _Stream = Stream
cdef object _Waiter = Waiter
cdef object _deque = deque

cdef object _leader_class = None  # the last ones that are kinds of these
cdef object _publication_class = None

cdef struct LeaderSlots:
    Py_ssize_t asking, called_back, deadline, doze_until, encrypted, full, gather_until, io_number
    Py_ssize_t leads, led_for, lock, owned, protocol, readiness, reading, relieves, resting
    Py_ssize_t sending, sent, sleeping, stream, streak, timeout, unanswered, work

cdef LeaderSlots _leader
_leader.asking = slot_offset(Leader, "_asking")
_leader.called_back = slot_offset(Leader, "_called_back")
_leader.deadline = slot_offset(Leader, "_deadline")
_leader.doze_until = slot_offset(Leader, "_doze_until")
_leader.encrypted = slot_offset(Leader, "_encrypted")
_leader.full = slot_offset(Leader, "_full")
_leader.gather_until = slot_offset(Leader, "_gather_until")
_leader.io_number = slot_offset(Leader, "_io_number")
_leader.leads = slot_offset(Leader, "_leads")
_leader.led_for = slot_offset(Leader, "_led_for")
_leader.lock = slot_offset(Leader, "lock")
_leader.owned = slot_offset(Leader, "_owned")
_leader.protocol = slot_offset(Leader, "protocol")
_leader.readiness = slot_offset(Leader, "_readiness")
_leader.reading = slot_offset(Leader, "reading")
_leader.relieves = slot_offset(Leader, "_relieves")
_leader.resting = slot_offset(Leader, "_resting")
_leader.sending = slot_offset(Leader, "_sending")
_leader.sent = slot_offset(Leader, "_sent")
_leader.sleeping = slot_offset(Leader, "_sleeping")
_leader.stream = slot_offset(Leader, "_stream")
_leader.streak = slot_offset(Leader, "_streak")
_leader.timeout = slot_offset(Leader, "_timeout")
_leader.unanswered = slot_offset(Leader, "unanswered")
_leader.work = slot_offset(Leader, "_work")

cdef struct ConnectionSlots:
    Py_ssize_t acks, bytes_queued, bytes_sent, incoming, limits, out, state
    Py_ssize_t noted  # of its acks
    Py_ssize_t frame_max  # of its limits
    Py_ssize_t chunks, frame, last_received  # of its incoming
    Py_ssize_t unsent  # of the stream
    Py_ssize_t descriptors  # of the readiness

cdef ConnectionSlots _connection
_connection.acks = slot_offset(Connection, "acks")
_connection.bytes_queued = slot_offset(Connection, "bytes_queued")
_connection.bytes_sent = slot_offset(Connection, "bytes_sent")
_connection.incoming = slot_offset(Connection, "incoming")
_connection.limits = slot_offset(Connection, "limits")
_connection.out = slot_offset(Connection, "out")
_connection.state = slot_offset(Connection, "state")
_connection.noted = slot_offset(Acks, "noted")
_connection.frame_max = slot_offset(Limits, "frame_max")
_connection.chunks = slot_offset(Incoming, "_chunks")
_connection.frame = slot_offset(Incoming, "_frame")
_connection.last_received = slot_offset(Incoming, "last_received")
_connection.unsent = slot_offset(Stream, "unsent")
_connection.descriptors = slot_offset(Readiness, "descriptors")

cdef struct ChannelSlots:
    Py_ssize_t assembly, confirms, newly_unheeded, number, sent, state
    Py_ssize_t posted, requests  # of what was sent
    Py_ssize_t low, open  # of its confirms

cdef ChannelSlots _channel
_channel.assembly = slot_offset(Channel, "assembly")
_channel.confirms = slot_offset(ClientChannel, "confirms")
_channel.newly_unheeded = slot_offset(ClientChannel, "_newly_unheeded")
_channel.number = slot_offset(Channel, "number")
_channel.sent = slot_offset(ClientChannel, "_sent")
_channel.state = slot_offset(Channel, "state")
_channel.posted = slot_offset(SentMethods, "posted")
_channel.requests = slot_offset(SentMethods, "requests")
_channel.low = slot_offset(ConfirmTracker, "_low")
_channel.open = slot_offset(ConfirmTracker, "_open")

cdef struct OtherSlots:
    Py_ssize_t abandoned, done  # of a waiter
    Py_ssize_t at, timeout  # of a deadline
    Py_ssize_t channel  # of a method
    Py_ssize_t ack_tag
    Py_ssize_t delivery_tag, outcome, returned  # of a publication

cdef OtherSlots _other
_other.abandoned = slot_offset(Waiter, "abandoned")
_other.done = slot_offset(Waiter, "done")
_other.at = slot_offset(Deadline, "at")
_other.timeout = slot_offset(Deadline, "timeout")
_other.channel = slot_offset(wire.Method, "channel")
_other.ack_tag = slot_offset(wire.BasicAck, "delivery_tag")
_other.delivery_tag = slot_offset(Publication, "delivery_tag")
_other.outcome = slot_offset(Publication, "outcome")
_other.returned = slot_offset(Publication, "returned")


cdef struct RequestSlots:
    Py_ssize_t method, owner, posted, token, unheeded

cdef RequestSlots _request
_request.method = slot_offset(Request, "method")
_request.owner = slot_offset(Request, "owner")
_request.posted = slot_offset(Request, "posted")
_request.token = slot_offset(Request, "token")
_request.unheeded = slot_offset(Request, "unheeded")

cdef struct ReplySlots:
    Py_ssize_t channel, reply, request, token

cdef ReplySlots _reply
_reply.channel = slot_offset(Reply, "channel")
_reply.reply = slot_offset(Reply, "reply")
_reply.request = slot_offset(Reply, "request")
_reply.token = slot_offset(Reply, "token")


cdef class Asked:
    """A kind of request with which nothing changes but that it is open, and its replies."""

    cdef tuple replies
    cdef Py_ssize_t nowait  # 0 where there is none

    def __cinit__(self, object kind):
        self.replies = kind.replies
        self.nowait = slot_offset(kind, "nowait") if kind.has_nowait else 0


cdef dict _asked = {kind: Asked(kind) for kind in PLAIN_REQUESTS}


cdef object new_deadline(double now, double seconds):
    made = allocate(_Deadline)
    put(made, _other.timeout, seconds)
    put(made, _other.at, now + seconds)
    return made


cdef object new_request(object method, object waiter, object owner):
    made = allocate(_Request)
    put(made, _request.method, method)
    put(made, _request.token, waiter)
    put(made, _request.owner, owner)
    put(made, _request.unheeded, ())
    put(made, _request.posted, ())
    return made


cdef object new_reply(object number, object waiter, object method, object reply):
    made = allocate(_Reply)
    put(made, _reply.channel, number)
    put(made, _reply.token, waiter)
    put(made, _reply.request, method)
    put(made, _reply.reply, reply)
    return made


cdef inline bint is_a(PyObject* value, object kind) noexcept:
    return value != NULL and type(<object>value) is kind


cdef inline bint is_empty(PyObject* value) noexcept:
    """Whether this is a list without items."""
    return is_a(value, list) and PyList_GET_SIZE(<object>value) == 0


cdef inline bint is_size(PyObject* value, int64_t* size) noexcept:
    return value != NULL and as_size(<object>value, size)


cdef inline bint is_time(PyObject* value, double* time) noexcept:
    if not is_a(value, float):
        return False
    time[0] = PyFloat_AS_DOUBLE(<object>value)
    return True
