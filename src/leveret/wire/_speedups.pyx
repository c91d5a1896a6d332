# cython: language_level=3, binding=False, boundscheck=False, wraparound=False
# cython: initializedcheck=False, cdivision=True, embedsignature=False
"""The compiled twin of the hot functions: the names of `pure`, the same values, the same errors.

Each function here does the ordinary case, and hands everything else to its twin in Python with
the arguments as they came: values of rare types, bodies of several frames, and all that is wrong.
So there is one place that words an error, and nothing here needs to know why something is wrong,
only that it is not as expected.

The objects are those of the Python modules, not compiled ones: reading an attribute of a class
with `__slots__` is what CPython does fastest, and there is one `Delivery`, whichever codec made
it. They are made without their constructors, by writing into their slots; where in the object a
slot is, its descriptor says (`slot_offset`), once, at import. But `Queue` and `Unsettled`, of which
each of many channels has one, are small where they are compiled.

Bytes come from the peer. Every read is preceded by a comparison with the end of the buffer, in
64 bits, in which no sum of a position and a size of the wire can overflow.

The caches and the objects under way are guarded by the GIL: setup.py does not build this for a
free-threaded Python.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_DelItem, PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem, PyDict_Size
from cpython.exc cimport PyErr_Clear
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_Append, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject, PyObject_Size
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.set cimport PySet_Contains
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT64_MAX, int8_t, int16_t, int32_t, int64_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from ..exceptions import DecodeError
from . import declare as _declare
from . import encoders as _encoders
from . import frames as _frames
from . import lanes as _lanes
from . import making as _making
from . import properties as _properties
from . import publishing as _publishing
from . import table as _table
from .content import ContentBody, ContentHeader, Delivery, Heartbeat, Published, Returned
from .declare import METHODS, Method, decode_method_at
from .encoders import encode_return
from .lanes import Acked, Inbox, Lane
from .methods import BasicAck
from .properties import PROPERTY_NAMES, Properties

__all__ = [
    "Queue",
    "Unsettled",
    "claim",
    "confirm",
    "confirm_run",
    "count_confirmed",
    "deal",
    "decode_frames",
    "decode_only",
    "decode_properties",
    "decode_table",
    "encode_ack",
    "encode_acks",
    "encode_deliver",
    "encode_get_ok",
    "encode_method",
    "encode_nack",
    "encode_properties",
    "encode_publish",
    "encode_reject",
    "encode_return",
    "encode_table",
    "hasten_ack",
    "hasten_next",
    "is_plain_table",
    "maker",
    "queue_publish",
    "settle",
]

include "_slots.pxi"
include "_memory.pxi"
include "_tables.pxi"
include "_properties.pxi"
include "_frames.pxi"
include "_methods.pxi"
include "_encoders.pxi"
include "_queue.pxi"
include "_lanes.pxi"
include "_publishes.pxi"

#: A fingerprint of the sources that this was built from.
BUILT_FROM = LEVERET_SOURCES
