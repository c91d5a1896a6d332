# Slots of objects, read and written without a call. Part of each .pyx file.

cdef extern from *:
    """
    #include <stdint.h>
    #include "structmember.h"

    #ifndef Py_T_OBJECT_EX
    #define Py_T_OBJECT_EX T_OBJECT_EX
    #endif

    #ifndef LEVERET_SOURCES  /* setup.py defines it */
    #define LEVERET_SOURCES 0u
    #endif

    /* Whether an int is not negative and of one digit: then its value, without a call. */
    static inline int leveret_is_short(PyObject *value, uint64_t *number) {
    #if PY_VERSION_HEX >= 0x030C0000
        Py_ssize_t small;
        if (!PyUnstable_Long_IsCompact((PyLongObject *)value))
            return 0;
        small = PyUnstable_Long_CompactValue((PyLongObject *)value);
        *number = (uint64_t)small;
        return small >= 0;
    #else
        Py_ssize_t digits = Py_SIZE(value);
        *number = digits ? ((PyLongObject *)value)->ob_digit[0] : 0;
        return digits == 0 || digits == 1;
    #endif
    }
    /* A new object of a class that object.__new__ would make, its slots empty. */
    static inline PyObject *leveret_allocate(PyObject *cls) {
        return ((PyTypeObject *)cls)->tp_alloc((PyTypeObject *)cls, 0);
    }
    /* Fill a slot that is empty. */
    static inline void leveret_put(PyObject *self, Py_ssize_t offset, PyObject *value) {
        Py_INCREF(value);
        *(PyObject **)((char *)self + offset) = value;
    }
    /* Fill a slot, whatever was in it. */
    static inline void leveret_replace(PyObject *self, Py_ssize_t offset, PyObject *value) {
        PyObject **slot = (PyObject **)((char *)self + offset);
        PyObject *old = *slot;
        Py_INCREF(value);
        *slot = value;
        Py_XDECREF(old);
    }
    /* A borrowed reference, NULL if the slot is empty. */
    static inline PyObject *leveret_get(PyObject *self, Py_ssize_t offset) {
        return *(PyObject **)((char *)self + offset);
    }
    /* Call a method of one argument by its descriptor. */
    static inline int leveret_call(PyObject *method, PyObject *self, PyObject *argument) {
        PyObject *arguments[2] = {self, argument};
        PyObject *result = PyObject_Vectorcall(method, arguments, 2, NULL);
        if (result == NULL)
            return -1;
        Py_DECREF(result);
        return 0;
    }
    /* Where the slot of this descriptor is; -1 if it is not one of __slots__. */
    static Py_ssize_t leveret_slot_offset(PyObject *descriptor) {
        PyMemberDef *member;
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type))
            return -1;
        member = ((PyMemberDescrObject *)descriptor)->d_member;
        return member->type == Py_T_OBJECT_EX && !member->flags ? member->offset : -1;
    }
    """
    const uint32_t LEVERET_SOURCES
    bint is_short "leveret_is_short"(object, uint64_t*) noexcept
    object allocate "leveret_allocate"(object)
    void put "leveret_put"(object, Py_ssize_t, object) noexcept
    void replace "leveret_replace"(object, Py_ssize_t, object) noexcept
    PyObject* get "leveret_get"(object, Py_ssize_t) noexcept
    int call_method "leveret_call"(object, object, object) except -1
    Py_ssize_t leveret_slot_offset(object) noexcept
    # without `except`: of an int it has no error but the overflow
    long long PyLong_AsLongLongAndOverflow(object, int*) noexcept


cdef Py_ssize_t slot_offset(object cls, str name) except -1:
    """Where objects of `cls` have the slot `name`."""
    cdef Py_ssize_t offset = leveret_slot_offset(getattr(cls, name))
    if offset < 0:
        raise ImportError(f"{cls.__qualname__}.{name} is not a slot: the codec must be built anew")
    return offset


cdef inline bint as_size(object value, int64_t* size) noexcept:
    """Whether `value` is an ordinary int, not negative and far from an overflow."""
    cdef int overflow = 0
    if type(value) is not int:
        return False
    if is_short(value, <uint64_t*>size):
        return True
    size[0] = PyLong_AsLongLongAndOverflow(value, &overflow)
    return not overflow and 0 <= size[0] <= INT64_MAX // 2


cdef inline bint is_true(PyObject* value) noexcept:
    return value != NULL and <object>value is True


cdef inline bint is_false(PyObject* value) noexcept:
    return value != NULL and <object>value is False
