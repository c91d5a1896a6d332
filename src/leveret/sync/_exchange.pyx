# cython: language_level=3, binding=False, boundscheck=False, wraparound=False
# cython: initializedcheck=False, cdivision=True, embedsignature=False
"""The compiled twin of `exchange`, for ordinary sockets of POSIX: the same names and results.

It does the ordinary case, and gives None, or the deadline, for everything else, which `requests`
and `leading` do as they do it anyway. What has a slot is read and written there, as in
`wire._speedups`, and nothing is taken for granted of an object but by its class.

Up to the wait, and after it, this thread has the GIL and the connection's lock, and makes two
system calls that do not wait: no other thread sees a half of it. What Python code may run in
between (finalizers, if the collector comes by) finds the lock owned, and is refused. Signal
handlers run where this says so, and in what is done in Python: unusual arguments are encoded, and
unusual answers read, there.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Clear, PyDict_GetItemWithError, PyDict_Size
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_Append, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject, PyObject_Size
from cpython.sequence cimport PySequence_GetItem
from cpython.set cimport PySet_Add, PySet_Discard, PySet_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.math cimport ceil
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

import os
import time
from _thread import RLock
from collections import deque

from .. import wire
from ..client.deadline import Deadline
from ..protocol import ClientChannel, Connection, Outcome, Publication
from ..protocol.blame import Request, SentMethods
from ..protocol.channel import Channel
from ..protocol.confirms import ConfirmTracker
from ..protocol.events import Reply
from ..protocol.incoming import Incoming
from ..protocol.requesting import PLAIN_REQUESTS
from ..protocol.handshake import Limits
from ..protocol.settle import Acks
from ..protocol.states import ChannelState, State
from .leading import GATHER, NOBODY, Leader
from .readiness import Readiness
from .stream import Stream
from .waiter import Waiter

__all__ = ["ask", "publish"]

include "../wire/_slots.pxi"

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int, const void*, size_t, int)
    ssize_t c_recv "recv"(int, void*, size_t, int)
    int MSG_DONTWAIT

cdef extern from "<poll.h>" nogil:
    """
    #ifndef MSG_NOSIGNAL  /* Python ignores SIGPIPE */
    #define MSG_NOSIGNAL 0
    #endif
    """
    struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd*, unsigned long, int)
    short POLLIN
    int MSG_NOSIGNAL

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept

#: A fingerprint of the sources that this was built from.
BUILT_FROM = LEVERET_SOURCES

cdef enum:
    ROOM = 16384  # bytes a read may bring: an answer is small
    WAIT_MAX = 1000000000  # milliseconds that `poll` can wait

cdef enum Begun:
    NOT_BEGUN, BEGUN, SENT

include "_known.pxi"

# -- who may --------------------------------------------------------------------------------------

cdef struct Parties:
    # borrowed: of the leader and of the channel, which keep them for good
    PyObject* connection
    PyObject* incoming
    PyObject* out
    PyObject* stream
    PyObject* frame_max
    PyObject* number  # of the channel
    PyObject* requests  # of the channel
    int descriptor
    int woken
    double now
    double until


cdef bint is_leader(object leader) except -1:
    global _leader_class
    if type(leader) is not _leader_class:
        if not isinstance(leader, Leader):
            return False
        _leader_class = type(leader)
    return True


cdef object deadline_of(object leader, object timeout):
    """`Leader.deadline_of`."""
    cdef double seconds, now
    if timeout is None and is_leader(leader) and is_time(get(leader, _leader.timeout), &seconds):
        now = _monotonic()
        return new_deadline(now, seconds)
    return leader.deadline_of(timeout)


cdef bint are_known(object leader, object waiter, object channel, Parties* parties) except -1:
    """Whether the objects are of the ordinary kinds, and which they are."""
    cdef PyObject* value
    if not (
        is_leader(leader)
        and type(waiter) is _Waiter
        and type(channel) is _ClientChannel
        and is_a(get(leader, _leader.protocol), _Connection)
        and is_a(get(leader, _leader.stream), _Stream)
        and is_a(get(channel, _channel.sent), _SentMethods)
    ):
        return False
    parties.connection = get(leader, _leader.protocol)
    parties.stream = get(leader, _leader.stream)
    connection = <object>parties.connection
    parties.incoming = get(connection, _connection.incoming)
    parties.out = get(connection, _connection.out)
    parties.number = get(channel, _channel.number)
    parties.requests = get(<object>get(channel, _channel.sent), _channel.requests)
    value = get(connection, _connection.limits)
    if not (
        is_a(value, _Limits)
        and is_a(parties.incoming, _Incoming)
        and is_a(parties.requests, _deque)
        and is_a(get(connection, _connection.acks), _Acks)
        and parties.number != NULL
    ):
        return False
    parties.frame_max = get(<object>value, _connection.frame_max)
    return parties.frame_max != NULL


cdef bint have_descriptors(object readiness, Parties* parties) noexcept:
    """Whether the socket is an ordinary one, and may be waited for here."""
    cdef PyObject* value
    cdef int64_t descriptor, woken
    if type(readiness) is not _Readiness:
        return False
    value = get(readiness, _connection.descriptors)
    if not (
        is_a(value, tuple)
        and PyTuple_GET_SIZE(<object>value) == 2
        and is_size(PyTuple_GET_ITEM(<object>value, 0), &descriptor)
        and is_size(PyTuple_GET_ITEM(<object>value, 1), &woken)
    ):
        return False
    parties.descriptor = <int>descriptor
    parties.woken = <int>woken
    return True


cdef bint is_free(object leader, Parties* parties) noexcept:
    """Under the lock: whether nobody else uses the connection, and nothing else is to be sent."""
    cdef object connection = <object>parties.connection
    cdef int64_t sent, seen
    cdef double dozes
    cdef PyObject* full = get(leader, _leader.full)
    return (
        get(leader, _leader.reading) == <PyObject*>_NOBODY
        and get(leader, _leader.unanswered) == <PyObject*>_NOBODY
        and is_false(get(leader, _leader.sending))
        and is_false(get(leader, _leader.work))
        and is_false(get(leader, _leader.encrypted))
        and is_a(full, set)
        and PySet_GET_SIZE(<object>full) == 0
        and is_a(get(leader, _leader.asking), set)
        and is_empty(get(<object>parties.stream, _connection.unsent))
        and is_empty(parties.out)
        and is_false(get(<object>get(connection, _connection.acks), _connection.noted))
        and is_size(get(connection, _connection.bytes_sent), &sent)
        and is_size(get(leader, _leader.sent), &seen)
        and sent == seen
        and is_time(get(leader, _leader.doze_until), &dozes)
        and parties.now >= dozes
        and is_whole(connection, <object>parties.incoming)
    )


cdef inline bint is_whole(object connection, object incoming) noexcept:
    """Whether the connection is open, and what has come ended with a frame."""
    return (
        get(connection, _connection.state) == <PyObject*>_OPEN
        and get(incoming, _connection.frame) == <PyObject*>None
        and is_empty(get(incoming, _connection.chunks))
    )


cdef bint enter(object leader, object lock, object deadline, Parties* parties) except -1:
    """Take the lock; False where this thread may not lead now."""
    cdef PyObject* value = get(leader, _leader.owned)
    cdef int64_t io_number
    if value == NULL or not isinstance(lock, _RLock) or (<object>value)() is not False:
        return False
    if not is_size(get(leader, _leader.io_number), &io_number):
        return False
    if <uint64_t>io_number == PyThread_get_thread_ident():  # who would read?
        return False
    _acquire(lock)
    try:
        parties.now = _monotonic()
        if (
            is_free(leader, parties)
            and is_bounded(leader, deadline, parties)
            and have_descriptors(<object>get(leader, _leader.readiness), parties)
        ):
            return True
    except BaseException:
        _release(lock)
        raise
    _release(lock)
    return False


cdef bint is_bounded(object leader, object deadline, Parties* parties) except -1:
    """How long to wait for an answer: to the deadline, or to the protocol's next one."""
    cdef double at
    if get(leader, _leader.deadline) == <PyObject*>None:
        replace(leader, _leader.deadline, (<object>parties.connection).next_deadline())
    if type(deadline) is not _Deadline or not is_time(get(deadline, _other.at), &parties.until):
        return False
    if is_time(get(leader, _leader.deadline), &at) and at < parties.until:
        parties.until = at
    return True


# -- sending --------------------------------------------------------------------------------------

cdef int lead(object leader, object waiter) except -1:
    """This thread leads, for a waiter, and will sleep soon."""
    number = PyThread_get_thread_ident()
    PySet_Add(<object>get(leader, _leader.asking), waiter)
    replace(waiter, _other.abandoned, False)
    replace(leader, _leader.unanswered, _ONE)
    replace(leader, _leader.led_for, waiter)
    replace(leader, _leader.reading, number)
    replace(leader, _leader.sleeping, True)
    return 0


cdef Begun send_off(
    object leader, object data, object position, Parties* parties
) except? BEGUN:
    """Send the last bytes that are queued; `SENT` if the thread is to rest now.

    Args:
        position: up to which bytes will have been sent.
    """
    cdef ssize_t sent
    cdef int reason = 0
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef object connection = <object>parties.connection
    if not is_false(get(<object>get(connection, _connection.acks), _connection.noted)):
        PyList_Append(<object>parties.out, data)  # who acked did not see that this one sleeps
        return BEGUN
    until = parties.now + _gather
    replace(connection, _connection.bytes_sent, position)
    replace(leader, _leader.sent, position)
    replace(leader, _leader.gather_until, until)
    replace(leader, _leader.streak, 0)
    sent = c_send(
        parties.descriptor, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL
    )
    if sent == size:
        replace(leader, _leader.resting, True)
        return SENT
    if sent < 0:
        reason = errno
        sent = 0
    replace(<object>parties.stream, _connection.unsent, [memoryview(data)[sent:]])
    fail(leader, reason)
    return BEGUN


cdef int fail(object leader, int reason) except -1:
    """A system call has failed, for a reason that may be that it would have to wait."""
    if reason and reason != EAGAIN and reason != EINTR:
        leader._fail(OSError(reason, os.strerror(reason)))
    return 0


# -- resting, and what comes ----------------------------------------------------------------------

cdef bint rest(object leader, object waiter, object readiness, Parties* parties) except -1:
    """Wait for the socket; whether there is something to read, and this thread still leads."""
    cdef pollfd[2] descriptors
    cdef int ready
    cdef int reason = 0
    cdef double left = ceil((parties.until - parties.now) * 1000)
    cdef int milliseconds = 0 if left < 0 else WAIT_MAX if left > WAIT_MAX else <int>left
    descriptors[0].fd = parties.descriptor
    descriptors[1].fd = parties.woken
    descriptors[0].events = descriptors[1].events = POLLIN
    descriptors[0].revents = descriptors[1].revents = 0
    PyErr_CheckSignals()  # one that has come before it would not end the wait
    with nogil:
        ready = c_poll(descriptors, 2, milliseconds)
        if ready < 0:
            reason = errno
    if reason == EINTR:
        PyErr_CheckSignals()
    if get(leader, _leader.led_for) != <PyObject*>waiter:  # this one was slow, or relieved
        leader._was_relieved(waiter, waiter, readiness)
        return False
    replace(leader, _leader.resting, False)
    if not is_false(get(leader, _leader.relieves)):
        leader._was_relieved(waiter, waiter, readiness)
        return False
    replace(leader, _leader.sleeping, False)
    return ready == 1 and descriptors[0].revents == POLLIN


cdef object read(object leader, object waiter, Parties* parties):
    """Under the lock: what has come; None if nothing, or if it is for others, too."""
    cdef char[ROOM] buffer
    cdef ssize_t count
    if (
        get(leader, _leader.unanswered) != <PyObject*>_ONE
        or not is_false(get(waiter, _other.done))
        or not is_whole(<object>parties.connection, <object>parties.incoming)
    ):
        return None
    count = c_recv(parties.descriptor, buffer, ROOM, MSG_DONTWAIT)
    if count > 0:
        return PyBytes_FromStringAndSize(buffer, count)
    fail(leader, errno if count else 0)
    return None


cdef int take_in(object leader, object data) except -1:
    """Under the lock: something else has come."""
    leader._received(data)
    leader.dispatch()
    return 0


cdef bint is_to_raise(object leader, object waiter, object error) except -1:
    """Under the lock: what has come out of reading, perhaps between the read and its use; False
    where the I/O thread tells everybody.
    """
    leader._sending_failed(error)
    return leader._led_for is not waiter or leader._is_to_raise(error, False)


cdef int answered(object leader, object waiter, Parties* parties) except -1:
    """Under the lock: the waiter has its answer, and this thread leads no more."""
    cdef int64_t leads
    cdef object last_received = _monotonic()
    cdef object count = <object>get(leader, _leader.leads) + 1
    PySet_Discard(<object>get(leader, _leader.asking), waiter)
    replace(<object>parties.incoming, _connection.last_received, last_received)
    replace(waiter, _other.done, True)
    replace(leader, _leader.unanswered, _NOBODY)
    replace(leader, _leader.led_for, None)
    replace(leader, _leader.reading, _NOBODY)
    replace(leader, _leader.leads, count)
    return 0


cdef object finish(object leader, object value):
    """After leading, and not under the lock: as `led`."""
    if not (
        is_false(get(leader, _leader.called_back))
        and is_false(get(leader, _leader.work))
        and is_empty(get(<object>get(leader, _leader.stream), _connection.unsent))
    ):
        leader._call_thread()
    return value


# -- requests -------------------------------------------------------------------------------------

cdef inline bint is_on(object item, PyObject* number) noexcept:
    """Whether an item is of the channel of this number."""
    cdef int64_t one, other
    return (
        is_size(get(item, _other.channel), &one) and is_size(number, &other) and one == other
    )


cdef Begun begin_request(
    object leader, object waiter, object channel, object method, object owner, Parties* parties
) except? BEGUN:
    """Under the lock: send a request."""
    cdef int64_t queued
    cdef object data, request, position
    cdef object sent = <object>get(channel, _channel.sent)
    cdef PyObject* found = PyDict_GetItemWithError(_asked, type(method))
    if (
        found == NULL
        or ((<Asked>found).nowait and not is_false(get(method, (<Asked>found).nowait)))
        or get(channel, _channel.state) != <PyObject*>_CHANNEL_OPEN
        or get(channel, _channel.assembly) != <PyObject*>None
        or not is_empty(get(channel, _channel.newly_unheeded))
        or get(sent, _channel.posted) != <PyObject*>None
        or PyObject_Size(<object>parties.requests)
        or not is_size(
            get(<object>parties.connection, _connection.bytes_queued), &queued
        )
    ):
        return NOT_BEGUN
    data = _encode_method(method, <object>parties.number, <object>parties.frame_max)
    request = new_request(method, waiter, owner)
    position = queued + PyBytes_GET_SIZE(data)
    call_method(_append, <object>parties.requests, request)
    replace(<object>parties.connection, _connection.bytes_queued, position)
    lead(leader, waiter)
    return send_off(leader, data, position, parties)


cdef object take_reply(
    object item, object waiter, object channel, object method, Parties* parties
):
    """The reply, if an item is that; None otherwise, and nothing was done."""
    cdef object request
    cdef Asked asked = <Asked>PyDict_GetItemWithError(_asked, type(method))
    if (
        type(item) not in asked.replies
        or not is_on(item, parties.number)
        or get(channel, _channel.state) != <PyObject*>_CHANNEL_OPEN
        or get(channel, _channel.assembly) != <PyObject*>None
        or PyObject_Size(<object>parties.requests) != 1
    ):
        return None
    request = PySequence_GetItem(<object>parties.requests, 0)
    if type(request) is not _Request or get(request, _request.token) != <PyObject*>waiter:
        return None
    reply = new_reply(<object>parties.number, waiter, method, item)
    _popleft(<object>parties.requests)
    return reply


# -- publishes ------------------------------------------------------------------------------------

cdef bint is_publication(object publication) except -1:
    global _publication_class
    if type(publication) is not _publication_class:
        if not isinstance(publication, Publication):
            return False
        _publication_class = type(publication)
    return True


cdef Begun begin_publish(
    object leader, object waiter, object channel, tuple message, Parties* parties
) except? BEGUN:
    """Under the lock: publish."""
    cdef object connection = <object>parties.connection
    cdef object data, publication
    if _queue_publish(None, channel, *message) < 0:
        return NOT_BEGUN
    publication = message[5]
    publication.waiters = [waiter]
    lead(leader, waiter)
    if PyList_GET_SIZE(<object>parties.out) != 1:
        return BEGUN
    data = <object>PyList_GET_ITEM(<object>parties.out, 0)
    if type(data) is not bytes:
        return BEGUN
    (<object>parties.out).clear()
    return send_off(
        leader, data, <object>get(connection, _connection.bytes_queued), parties
    )


cdef object take_confirm(object item, object channel, object publication, Parties* parties):
    """The publication, confirmed, if an item does that; None otherwise, and nothing was done."""
    cdef int64_t tag, number
    cdef PyObject* confirms = get(channel, _channel.confirms)
    cdef PyObject* open
    if (
        type(item) is not _BasicAck
        or not is_on(item, parties.number)
        or get(channel, _channel.assembly) != <PyObject*>None
        or not is_a(confirms, _ConfirmTracker)
        or not is_size(get(item, _other.ack_tag), &tag)
        or not is_size(get(publication, _other.delivery_tag), &number)
        or tag != number
        or get(publication, _other.returned) != <PyObject*>None
    ):
        return None
    open = get(<object>confirms, _channel.open)
    if not is_a(open, dict) or PyDict_Size(<object>open) != 1 or number not in <object>open:
        return None
    low = tag + 1
    PyDict_Clear(<object>open)
    replace(<object>confirms, _channel.low, low)
    replace(publication, _other.outcome, _CONFIRMED)
    return publication


# -- both -----------------------------------------------------------------------------------------

cdef object exchanged(
    object leader,
    object waiter,
    object channel,
    object deadline,
    object method,
    object owner,
    tuple message,
):
    """Send a request, or with a message a publish, and read the answer: as `exchange.ask`."""
    cdef Parties parties
    cdef Begun begun
    cdef object lock, readiness, data, item, answer
    if not are_known(leader, waiter, channel, &parties):
        return None
    lock = <object>get(leader, _leader.lock)
    if not enter(leader, lock, deadline, &parties):
        return None
    try:
        readiness = <object>get(leader, _leader.readiness)
        if message is None:
            begun = begin_request(leader, waiter, channel, method, owner, &parties)
        else:
            begun = begin_publish(leader, waiter, channel, message, &parties)
    except BaseException as error:
        leader._interrupted(error)
        raise
    finally:
        _release(lock)
    if begun != SENT:
        return None if begun == NOT_BEGUN else deadline
    if not rest(leader, waiter, readiness, &parties):
        return deadline
    _acquire(lock)  # a signal handler may raise here, and nothing is lost
    try:
        data = read(leader, waiter, &parties)
        if data is None:
            return deadline
        item = _decode_only(data, <object>parties.frame_max)
        if message is None:
            answer = take_reply(item, waiter, channel, method, &parties)
        else:
            answer = take_confirm(item, channel, message[5], &parties)
        if answer is None:
            take_in(leader, data)
            return deadline
        answered(leader, waiter, &parties)
    except BaseException as error:
        if is_to_raise(leader, waiter, error):
            raise
        return deadline
    finally:
        _release(lock)
    return finish(leader, answer)


def ask(leader, waiter, timeout, channel, method, owner):
    """`exchange.ask`."""
    return exchanged(
        leader, waiter, channel, deadline_of(leader, timeout), method, owner, None
    )


def publish(leader, waiter, deadline, channel, message):
    """`exchange.publish`."""
    if not is_publication(message[5]):
        return None
    return exchanged(leader, waiter, channel, deadline, None, None, message)
