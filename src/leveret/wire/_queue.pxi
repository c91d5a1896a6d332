# Where deliveries wait: the twin of `Queue` in lanes.py. Part of _speedups.pyx.

cdef enum:
    KEPT = 1024  # places of an empty queue

cdef extern from *:
    """
    /* Into a place of a list that has None. */
    static inline void leveret_place(PyObject *list, Py_ssize_t at, PyObject *item) {
        Py_INCREF(item);
        PyList_SET_ITEM(list, at, item);
        Py_DECREF(Py_None);
    }
    /* Out of a place of a list, which then has None. */
    static inline PyObject *leveret_displace(PyObject *list, Py_ssize_t at) {
        PyObject *item = PyList_GET_ITEM(list, at);
        Py_INCREF(Py_None);
        PyList_SET_ITEM(list, at, Py_None);
        return item;
    }
    """
    void place "leveret_place"(list, Py_ssize_t, object) noexcept
    object displace "leveret_displace"(list, Py_ssize_t)


@cython.auto_pickle(False)
@cython.final
@cython.no_gc_clear  # the owners of deliveries let go of it
cdef class Queue:
    """`pure.Queue`, with the first one in the object itself.

    Of many channels most have one delivery waiting or none. A deque, its block and the place in
    it are three to four lines of the processor's cache for each; this is one.
    """

    cdef object first
    cdef list rest  # a ring of those behind it, its size a power of two; None before there were any
    cdef Py_ssize_t start  # of the ring
    cdef Py_ssize_t count  # of all

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(listed(self))

    def append(self, item):
        push(self, item)

    def extend(self, items):
        cdef list more = items if type(items) is list else list(items)
        for item in more:
            push(self, item)

    @cython.always_allow_keywords(False)  # 5 ns a call
    def popleft(self):
        if not self.count:
            raise IndexError("pop from an empty queue")
        return pull(self)

    def clear(self):
        first, rest = self.first, self.rest  # they go when all is done
        self.first = self.rest = None
        self.count = 0


cdef list listed(Queue queue):
    cdef list items = []  # before all else: the garbage collector may come
    cdef Py_ssize_t at
    if queue.count:
        PyList_Append(items, queue.first)
    for at in range(queue.start, queue.start + queue.count - 1):
        PyList_Append(items, queue.rest[at & (PyList_GET_SIZE(queue.rest) - 1)])
    return items


cdef int widen(Queue queue) except -1:
    """A ring of the next size, if it is still needed once it is there: the garbage collector may
    have come, and what it ran have let other threads take what was here.
    """
    cdef Py_ssize_t at
    cdef list ring = [None] * (4 if queue.rest is None else 2 * PyList_GET_SIZE(queue.rest))
    cdef list rest = queue.rest
    if is_filled(queue) and queue.count <= PyList_GET_SIZE(ring):
        for at in range(queue.count - 1):
            place(ring, at, displace(rest, (queue.start + at) & (PyList_GET_SIZE(rest) - 1)))
        queue.rest = ring
        queue.start = 0
    return 0


cdef inline bint is_filled(Queue queue) noexcept:
    """Whether the next one has no place."""
    return queue.count and (queue.rest is None or queue.count > PyList_GET_SIZE(queue.rest))


cdef inline int push(Queue queue, object item) except -1:
    while is_filled(queue):
        widen(queue)
    if queue.count:
        place(queue.rest, (queue.start + queue.count - 1) & (PyList_GET_SIZE(queue.rest) - 1), item)
    else:
        queue.first = item
    queue.count += 1
    return 0


cdef inline object pull(Queue queue):
    """The first one; there must be one."""
    item = queue.first
    queue.count -= 1
    if queue.count:
        queue.first = displace(queue.rest, queue.start)
        queue.start = (queue.start + 1) & (PyList_GET_SIZE(queue.rest) - 1)
    else:
        queue.first = None
        if queue.rest is not None and PyList_GET_SIZE(queue.rest) > KEPT:
            queue.rest = None
    return item
