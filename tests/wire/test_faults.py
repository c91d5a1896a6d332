"""What a signal handler raises in the middle of decoding comes out of it as it is."""

from __future__ import annotations

import signal
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.signals import handling

from leveret import wire
from leveret.exceptions import DecodeError

HERE = str(Path(wire.__file__).parent)
TABLE = {"key": [1, {"deep": 2.5}], "other": "value"}
REPLY = wire.ConnectionStart(0, 9, TABLE, b"PLAIN", b"en_US").encode(0)
DELIVERY = wire.encode_deliver(1, "tag", 7, False, "ex", "key", b"\0\0", b"body", 131072)
assert isinstance(DELIVERY, bytes)
RETURNED = wire.encode_return(1, 312, "NO_ROUTE", "ex", "key", b"\0\0", b"body", 131072)
assert isinstance(RETURNED, bytes)
ENCODED = wire.encode_table(TABLE)
ACK = wire.encode_ack(1, 7, False)

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")


@pytest.mark.parametrize("kind", [DecodeError, IndexError, struct.error])
@pytest.mark.parametrize(
    "decode",
    [
        lambda: wire.decode_frames(DELIVERY + REPLY + ACK + RETURNED + DELIVERY, 0, 131072),
        lambda: wire.decode_only(REPLY, 131072),
        lambda: wire.decode_table(ENCODED),
    ],
    ids=["frames", "only", "table"],
)
def test_what_a_signal_handler_raises_anywhere_in_decoding(
    decode: Any, kind: type[Exception]
) -> None:
    """Where a function begins, or a built-in one has returned; in C it does not."""

    def handle(*_: object) -> None:
        raise kind("raised by a handler")

    def profile(frame: Any, event: str, what: Any) -> None:
        nonlocal left
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith((HERE, "<")):
            left -= 1
            if left < 0:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGUSR1)

    expected = repr(decode())
    number, left = -1, -1
    with handling(signal.SIGUSR1, handle):
        while left < 0:
            number += 1
            left = number
            sys.setprofile(profile)
            try:
                came = repr(decode())
            except kind as error:
                came = str(error)
            finally:
                sys.setprofile(None)
            assert came == ("raised by a handler" if left < 0 else expected), number
