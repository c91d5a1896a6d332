# Numbers in network order, makers of objects, strings by content. Part of _speedups.pyx.

cdef extern from *:
    """
    #include <stdint.h>
    static inline uint32_t leveret_read16(const uint8_t *p) {
        return (uint32_t)p[0] << 8 | p[1];
    }
    static inline uint32_t leveret_read32(const uint8_t *p) {
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    static inline uint64_t leveret_read64(const uint8_t *p) {
        return (uint64_t)leveret_read32(p) << 32 | leveret_read32(p + 4);
    }
    static inline uint8_t *leveret_write16(uint8_t *p, uint32_t value) {
        p[0] = (uint8_t)(value >> 8);
        p[1] = (uint8_t)value;
        return p + 2;
    }
    static inline uint8_t *leveret_write32(uint8_t *p, uint32_t value) {
        return leveret_write16(leveret_write16(p, value >> 16), value);
    }
    static inline uint8_t *leveret_write64(uint8_t *p, uint64_t value) {
        return leveret_write32(leveret_write32(p, (uint32_t)(value >> 32)), (uint32_t)value);
    }

    /* Ask for what will be read, and mostly written, soon. */
    static inline void leveret_prefetch(PyObject *self, Py_ssize_t offset) {
    #if defined(__GNUC__)
        __builtin_prefetch((char *)self + offset, 1);
    #endif
    }
    """
    uint32_t read16 "leveret_read16"(const uint8_t*) noexcept nogil
    uint32_t read32 "leveret_read32"(const uint8_t*) noexcept nogil
    uint64_t read64 "leveret_read64"(const uint8_t*) noexcept nogil
    uint8_t* write16 "leveret_write16"(uint8_t*, uint32_t) noexcept nogil
    uint8_t* write32 "leveret_write32"(uint8_t*, uint32_t) noexcept nogil
    uint8_t* write64 "leveret_write64"(uint8_t*, uint64_t) noexcept nogil
    void prefetch "leveret_prefetch"(PyObject*, Py_ssize_t) noexcept nogil
    ctypedef PyObject* (*PyCFunction)(PyObject*, PyObject*)
    ctypedef struct PyMethodDef:
        const char* ml_name
        PyCFunction ml_meth
        int ml_flags
        const char* ml_doc
    int METH_FASTCALL
    object PyCFunction_New(PyMethodDef*, object)

    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) noexcept
    bint PyUnicode_IS_ASCII(object) noexcept
    bint PyUnicode_IS_COMPACT_ASCII(object) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object) noexcept
    const uint8_t* PyUnicode_1BYTE_DATA(object) noexcept
    # without `except`: the error is cleared, and the twin in Python words it
    unsigned long long PyLong_AsUnsignedLongLong(object) noexcept
    PyObject* PyErr_Occurred() noexcept
    int PyFloat_Pack8(double, char*, int) except -1
    double PyFloat_Unpack4(const char*, int) except? -1.0
    double PyFloat_Unpack8(const char*, int) except? -1.0


cdef class Maker:
    """A class, and where its attributes are."""

    cdef object cls
    cdef object twin
    cdef Py_ssize_t count  # of those given; the rest are constants
    cdef Py_ssize_t* offsets
    cdef tuple constants

    def __cinit__(self, object cls, object given, object constants):
        cdef list names = [*given, *constants]
        cdef Py_ssize_t at
        self.cls = cls
        self.twin = _making.maker(cls, given, constants)
        self.count = len(given)
        self.constants = tuple(constants.values())
        self.offsets = <Py_ssize_t*>PyMem_Malloc(max(len(names), 1) * sizeof(Py_ssize_t))
        if self.offsets == NULL:
            raise MemoryError
        for at in range(len(names)):
            self.offsets[at] = slot_offset(cls, names[at])

    def __dealloc__(self):
        PyMem_Free(self.offsets)


cdef object make(Maker self, PyObject* const* values, Py_ssize_t count):
    cdef Py_ssize_t at
    if count != self.count:
        return self.twin(*[<object>values[at] for at in range(count)])  # says what is wrong
    made = allocate(self.cls)
    for at in range(count):
        put(made, self.offsets[at], <object>values[at])
    for at in range(PyTuple_GET_SIZE(self.constants)):
        put(made, self.offsets[count + at], <object>PyTuple_GET_ITEM(self.constants, at))
    return made


# By hand: Cython's own functions of any number of arguments take them in a tuple.
cdef PyMethodDef _make
_make.ml_name = "make"
_make.ml_meth = <PyCFunction><void*>make
_make.ml_flags = METH_FASTCALL
_make.ml_doc = NULL


def maker(cls, given, constants):
    """`pure.maker`."""
    return PyCFunction_New(&_make, Maker(cls, given, constants))


# -- arguments ----------------------------------------------------------------------------------

cdef inline bint as_unsigned(object value, uint64_t* number) noexcept:
    """Whether `value` is an ordinary int of 64 bits, not negative."""
    if type(value) is not int:
        return False
    if is_short(value, number):
        return True
    number[0] = PyLong_AsUnsignedLongLong(value)
    if number[0] == <uint64_t>-1 and PyErr_Occurred() != NULL:
        PyErr_Clear()
        return False
    return True


cdef inline bint as_channel(object value, uint32_t* channel) noexcept:
    cdef int64_t number
    if not as_size(value, &number) or number > 0xFFFF:
        return False
    channel[0] = <uint32_t>number
    return True


cdef inline bint as_bit(object value, uint8_t* bit) noexcept:
    bit[0] = value is True
    return bit[0] or value is False


cdef inline bint as_utf8(object value, const char** text, Py_ssize_t* size) noexcept:
    """Whether `value` is a str that is UTF-8 without surrogate escapes; borrowed from it."""
    if type(value) is not str:
        return False
    text[0] = PyUnicode_AsUTF8AndSize(value, size)
    if text[0] == NULL:
        PyErr_Clear()
        return False
    return True


cdef inline bint as_shortstr(object value, const char** text, Py_ssize_t* size) noexcept:
    return as_utf8(value, text, size) and size[0] <= 255


cdef inline uint8_t* write_shortstr(uint8_t* out, const char* text, Py_ssize_t size) noexcept:
    out[0] = <uint8_t>size
    memcpy(out + 1, text, size)
    return out + 1 + size


# -- strings by content -------------------------------------------------------------------------

# Names repeat from message to message. What was decoded before is found by its bytes in tables of
# a fixed size, two places for each hash: whatever a peer sends, they do not grow, and names that
# were chosen to collide cost no more than decoding them each time.

cdef enum:
    CACHE_SIZE = 1024  # entries; a power of two
    CACHED_MAX = 520  # bytes; two short strings fit

cdef struct Entry:
    uint64_t hash
    PyObject* raw  # bytes; NULL in an empty entry
    PyObject* value

cdef Entry _tag_cache[CACHE_SIZE]
cdef Entry _names_cache[CACHE_SIZE]
cdef Entry _key_cache[CACHE_SIZE]


cdef inline uint64_t mixed(uint64_t hashed, uint64_t word) noexcept nogil:
    hashed = (hashed ^ word) * 0x9FB21C651E98DF25ULL
    return hashed ^ hashed >> 29


cdef inline uint64_t hash_of(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    """Eight octets at a time; the last eight overlap those before them."""
    cdef uint64_t hashed = <uint64_t>size * 0x9E3779B97F4A7C15ULL
    cdef Py_ssize_t at = 0
    if size >= 8:
        while at < size - 8:
            hashed = mixed(hashed, read64(data + at))
            at += 8
        hashed = mixed(hashed, read64(data + size - 8))
    elif size >= 4:
        hashed = mixed(hashed, <uint64_t>read32(data) << 32 | read32(data + size - 4))
    else:
        while at < size:
            hashed = mixed(hashed, data[at])
            at += 1
    return hashed ^ hashed >> 32


cdef inline bint is_entry(
    const Entry* entry, uint64_t hashed, const uint8_t* data, Py_ssize_t size
) noexcept:
    return (
        entry.hash == hashed
        and entry.raw != NULL
        and PyBytes_GET_SIZE(<object>entry.raw) == size
        and memcmp(PyBytes_AS_STRING(<object>entry.raw), data, size) == 0
    )


cdef inline PyObject* find(
    Entry* cache, uint64_t hashed, const uint8_t* data, Py_ssize_t size
) noexcept:
    """A borrowed reference to what was learned; NULL if nothing was."""
    cdef Entry* entry = &cache[hashed & (CACHE_SIZE - 1)]
    if is_entry(entry, hashed, data, size):
        return entry.value
    entry = &cache[(hashed & (CACHE_SIZE - 1)) ^ 1]
    if is_entry(entry, hashed, data, size):
        return entry.value
    return NULL


cdef int learn(
    Entry* cache, uint64_t hashed, const uint8_t* data, Py_ssize_t size, object value
) except -1:
    """Remember `value`; the older of the two entries of this hash is forgotten."""
    cdef object raw = PyBytes_FromStringAndSize(<const char*>data, size)
    cdef Entry* entry = &cache[hashed & (CACHE_SIZE - 1)]
    cdef Entry* other = &cache[(hashed & (CACHE_SIZE - 1)) ^ 1]
    cdef Entry old = other[0]
    other[0] = entry[0]
    entry.hash = hashed
    entry.raw = <PyObject*>raw
    entry.value = <PyObject*>value
    Py_INCREF(raw)
    Py_INCREF(value)
    if old.raw != NULL:
        Py_DECREF(<object>old.raw)
        Py_DECREF(<object>old.value)
    return 0


cdef inline object text_of(const uint8_t* data, Py_ssize_t size):
    return PyUnicode_DecodeUTF8(<const char*>data, size, "surrogateescape")


cdef object cached_text(Entry* cache, const uint8_t* data, Py_ssize_t size):
    """The text of a short string."""
    cdef uint64_t hashed = hash_of(data, size)
    cdef PyObject* found = find(cache, hashed, data, size)
    if found != NULL:
        return <object>found
    text = text_of(data, size)
    learn(cache, hashed, data, size, text)
    return text


# Consumer tags are one for each of many channels, and each is mostly the last one of its channel:
# where to find that takes no hash and touches no more than itself.
cdef enum:
    CHANNELS = 2048  # a power of two

cdef PyObject* _last_tags[CHANNELS]


cdef inline object tag_of(uint32_t channel, const uint8_t* data, Py_ssize_t size):
    """The consumer tag of a delivery."""
    cdef PyObject** place = &_last_tags[channel & (CHANNELS - 1)]
    cdef PyObject* last = place[0]
    if (
        last != NULL
        and PyUnicode_GET_LENGTH(<object>last) == size
        and memcmp(PyUnicode_1BYTE_DATA(<object>last), data, size) == 0
    ):
        return <object>last
    tag = cached_text(_tag_cache, data, size)
    if PyUnicode_IS_COMPACT_ASCII(tag):
        Py_INCREF(tag)
        place[0] = <PyObject*>tag
        if last != NULL:
            Py_DECREF(<object>last)
    return tag


cdef object cached_names(const uint8_t* data, int64_t size):
    """A tuple of two short strings that fill `size` bytes exactly; None where they do not."""
    cdef uint64_t hashed
    cdef PyObject* found
    cdef int64_t middle
    if size < 2 or size > CACHED_MAX:
        return None
    hashed = hash_of(data, size)
    found = find(_names_cache, hashed, data, size)
    if found != NULL:
        return <object>found
    middle = 1 + data[0]
    if middle >= size or middle + 1 + data[middle] != size:
        return None
    names = (
        text_of(data + 1, middle - 1),
        text_of(data + middle + 1, size - middle - 1),
    )
    learn(_names_cache, hashed, data, size, names)
    return names
