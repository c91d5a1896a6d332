"""The hot functions of `leveret.wire` by themselves, pure and compiled, timed with pyperf.

    make bench-wire                        # all of them, quickly
    make bench-wire ARGS="--rigorous -o wire.json"
    python -m bench.micro --codec pure     # only one codec; the other options are pyperf's

The time is that of one delivery, message or table: what is done in a batch is divided by its
length. Compare two files with `python -m pyperf compare_to`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pyperf  # type: ignore[import-not-found, import-untyped, unused-ignore]

from leveret import wire

FRAME_MAX = 131_072
READ = 131_072  # bytes that are decoded at once: what a read brings
NAMES = {"pure": "leveret.wire.pure", "compiled": "leveret.wire._speedups"}

PLAIN = wire.Properties().encode()
TYPICAL = wire.Properties(
    content_type="application/json",
    delivery_mode=2,
    correlation_id="5c8f3f9e-0d5e-4a4c-9f43-0b8a3c2f7d11",
    reply_to="amq.gen-1234567890",
    headers={"lang": "py", "task": "tasks.add", "retries": 0, "eta": None},
)
TABLE: dict[str, object] = {
    "x-message-ttl": 60_000,
    "x-dead-letter-exchange": "dead",
    "x-queue-type": "quorum",
    "flags": [True, False, None],
    "nested": {"a": 1, "b": 2.5},
}


def joined(content: object) -> bytes:
    return content if isinstance(content, bytes) else b"".join(content)  # type: ignore[arg-type]


def deliveries(codec: ModuleType, properties: bytes, body: bytes) -> bytes:
    """As many as one read brings."""
    delivery = codec.encode_deliver(
        1, "ctag1", 1, False, "exchange", "routing.key", properties, body, FRAME_MAX
    )
    return joined(delivery) * max(1, READ // len(joined(delivery)))


def cases(codec: ModuleType) -> dict[str, tuple[int, Callable[..., object], tuple[object, ...]]]:
    """Name -> how many are done in one call, the function, its arguments."""
    typical = codec.encode_properties(TYPICAL, None)
    table = codec.encode_table(TABLE)
    small, large = b"x" * 100, b"x" * 65_536
    buffers = {
        "delivery, 100 B": deliveries(codec, PLAIN, small),
        "delivery with properties, 100 B": deliveries(codec, typical, small),
        "delivery, 64 KiB": deliveries(codec, PLAIN, large),
        "confirm": codec.encode_ack(1, 1, False) * 256,
    }
    decoding = {
        f"decode {what}": (
            len(codec.decode_frames(data, 0, FRAME_MAX)[0]),
            codec.decode_frames,
            (data, 0, FRAME_MAX, wire.Delivery),
        )
        for what, data in buffers.items()
    }
    return decoding | {
        "encode publish, 100 B": (
            1,
            codec.encode_publish,
            (1, "exchange", "routing.key", False, False, PLAIN, small, FRAME_MAX),
        ),
        "encode publish, 64 KiB": (
            1,
            codec.encode_publish,
            (1, "exchange", "routing.key", False, False, PLAIN, large, FRAME_MAX),
        ),
        "encode ack": (1, codec.encode_ack, (1, 123_456, True)),
        "encode properties": (1, codec.encode_properties, (TYPICAL, None)),
        "decode properties": (1, codec.decode_properties, (typical, 0)),
        "encode table": (1, codec.encode_table, (TABLE,)),
        "decode table": (1, codec.decode_table, (table,)),
    }


def pass_on(command: list[str], options: argparse.Namespace) -> None:
    """The workers measure the same codecs."""
    command += ["--codec", options.codec]


def main() -> None:
    runner = pyperf.Runner(program_args=("-m", "bench.micro"), add_cmdline_args=pass_on)
    runner.argparser.add_argument("--codec", choices=[*NAMES, "both"], default="both")
    options = runner.parse_args()
    for name, module in NAMES.items():
        if options.codec in (name, "both"):
            for title, (count, function, arguments) in cases(import_module(module)).items():
                runner.bench_func(f"{title} ({name})", function, *arguments, inner_loops=count)


if __name__ == "__main__":
    main()
