"""A broker in a process of its own, so that it takes no CPU and no memory of the client's.

    python -m tests.stress.served [certificate key]    # prints its URL, ends with its stdin
"""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from leveret.broker import Broker

__all__ = ["ROOT", "serve"]

ROOT = Path(__file__).resolve().parents[2]
MAX_MESSAGE = 512 * 1024 * 1024
END_SECONDS = 10.0


@contextlib.contextmanager
def serve(*certificate: str) -> Iterator[str]:
    """Run the broker; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stress.served", *certificate],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("amqp"), f"the broker did not start: {url!r}"
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def main() -> None:
    """Serve until stdin ends."""
    context = None
    if len(sys.argv) > 1:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*sys.argv[1:])
    with Broker(max_message_size=MAX_MESSAGE, ssl_context=context, memory_limit=0) as broker:
        print(broker.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
