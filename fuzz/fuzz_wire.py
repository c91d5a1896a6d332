"""Fuzz the decoders of the wire layer: any bytes are values, "more needed" or a DecodeError.

Where the compiled codec was built, both codecs decode every input, and must come to the same.

With atheris installed this is a libFuzzer target, and takes its options and corpus folders:

    python fuzz/fuzz_wire.py corpus/ -max_total_time=600

Without it, or with --runs, it mutates well-formed frames for a bounded number of rounds:

    python fuzz/fuzz_wire.py --runs 10000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections.abc import Callable

from leveret import wire
from leveret.exceptions import DecodeError
from leveret.wire import pure

try:
    from leveret.wire import _speedups as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]

FRAME_MAX = 4096


def described(value: object) -> object:
    """All there is to see of a value of the layer, in a form that == compares."""
    kind = type(value)
    match value:
        case float():
            return kind, struct.pack("d", value)  # a NaN is equal to itself here
        case list() | tuple():
            return kind, [described(each) for each in value]
        case dict():
            return kind, [(described(key), described(each)) for key, each in value.items()]
        case memoryview():
            return kind, bytes(value), value.readonly
    slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    if slots:
        return kind, [(name, described(getattr(value, name, "unset"))) for name in slots]
    return kind, repr(value)


def outcome(function: Callable[..., object], /, *arguments: object, **named: object) -> object:
    """What a call comes to: a value, or an error with all that it says."""
    try:
        return described(function(*arguments, **named))
    except Exception as error:
        return type(error), str(error), described(vars(error))


def same(name: str, *arguments: object) -> None:
    """Both codecs come to the same."""
    if compiled is None:
        return
    one = outcome(getattr(pure, name), *arguments)
    other = outcome(getattr(compiled, name), *arguments)
    if one != other:
        raise AssertionError(f"{name}{arguments}:\n{one}\n{other}")


def _frames(data: bytes) -> None:
    offset = 0
    while True:
        same("decode_frames", data, offset, FRAME_MAX)
        items, after, needed = wire.decode_frames(data, offset, FRAME_MAX)
        for item in items:
            repr(item)
            if isinstance(item, wire.Content):
                _properties(item.raw_properties)
            elif isinstance(item, wire.Method):
                item.encode(item.channel)
        if not offset <= after <= len(data):
            raise AssertionError(f"offset {after} after {offset} of {len(data)}")
        if needed:
            if needed <= len(data) - after:
                raise AssertionError(f"{needed} bytes needed, {len(data) - after} are there")
            return
        if not items:
            raise AssertionError("a call that does nothing")
        offset = after


def _properties(data: bytes) -> None:
    same("decode_properties", data, 0)
    try:
        decoded = wire.Properties.decode(data)
    except DecodeError:
        return
    same("encode_properties", decoded, decoded.delivery_mode)
    wire.Properties.decode(decoded.encode())


def _table(data: bytes) -> None:
    same("decode_table", data, 0)
    table, offset = wire.decode_table(data)
    if offset > len(data):
        raise AssertionError(f"offset {offset} of {len(data)}")
    same("encode_table", table)
    wire.decode_table(wire.encode_table(table))


def _method(data: bytes) -> None:
    method = wire.decode_method(data, 1)
    encoded = method.encode(1)
    if wire.decode_method(encoded[7:-1], 1).encode(1) != encoded:
        raise AssertionError(f"{method!r} is not what it was encoded from")


TARGETS = (_frames, _properties, _table, _method)


def TestOneInput(data: bytes) -> None:
    """The entry point that atheris calls: the first octet picks the decoder."""
    if not data:
        return
    try:
        TARGETS[data[0] % len(TARGETS)](data[1:])
    except DecodeError as error:
        str(error)


def _seeds() -> list[bytes]:
    """Well-formed inputs: from random bytes alone, few get past the first check."""
    table: dict[str, object] = {"a": [1, 2**40, 0.5, None, True], "b": {"c": "d", "e": b"f"}}
    properties = wire.Properties(type="t", headers=table, priority=1, message_id="m").encode()
    methods = [cls() for cls in wire.METHODS.values()]
    methods += [wire.QueueDeclare("q", arguments=table), wire.ConnectionStart(0, 9, table, b"P")]
    contents = [
        wire.encode_publish(1, "e", "k", True, False, properties, b"body", FRAME_MAX),
        wire.encode_deliver(1, "tag", 1, False, "e", "k", properties, b"body", FRAME_MAX),
        wire.encode_get_ok(1, 1, False, "e", "k", 1, properties, b"body", FRAME_MAX),
        wire.encode_return(1, 312, "NO_ROUTE", "e", "k", properties, b"body", FRAME_MAX),
        wire.encode_publish(1, "e", "k", True, False, properties, bytes(9000), FRAME_MAX),
    ]
    joined = [one if isinstance(one, bytes) else b"".join(one) for one in contents]
    frames = [*joined, wire.HEARTBEAT_FRAME, *(method.encode(1) for method in methods)]
    frames.append(b"".join(joined))
    return [
        *(b"\0" + frame for frame in frames),
        b"\1" + properties,
        b"\2" + wire.encode_table(table),
        *(b"\3" + method.encode(1)[7:-1] for method in methods),
    ]


def _mutate(seed: bytes, chance: random.Random) -> bytes:
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if at < len(data):
                data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0xCE, chance.randrange(256)))
            case 1 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at : at + chance.randint(1, 8)]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case _:
                del data[at:]
    return bytes(data)


def smoke(runs: int, seed: int) -> None:
    """Without libFuzzer: mutations of well-formed inputs, the same ones for the same seed."""
    chance = random.Random(seed)
    seeds = _seeds()
    for one in seeds:
        TestOneInput(one)
    for run in range(runs):
        data = _mutate(chance.choice(seeds), chance)
        try:
            TestOneInput(data)
        except BaseException:
            print(f"run {run} of seed {seed}: {data.hex()}", file=sys.stderr)
            raise


def main() -> None:
    """Fuzz with atheris where it is there and --runs is not asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=None, help="rounds of the built-in loop")
    parser.add_argument("--seed", type=int, default=1)
    options, rest = parser.parse_known_args()
    if options.runs is None:
        try:
            import atheris
        except ImportError:
            options.runs = 100_000
        else:
            atheris.instrument_all()
            atheris.Setup([sys.argv[0], *rest], TestOneInput)
            atheris.Fuzz()
            return
    smoke(options.runs, options.seed)
    print(f"{options.runs} runs, seed {options.seed}: no fault")


if __name__ == "__main__":
    main()
