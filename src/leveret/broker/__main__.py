"""`python -m leveret.broker`: the embedded broker as a process, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import Sequence

from ..exceptions import ConfigurationError
from ..wire import DEFAULT_PORT, TLS_PORT
from .server import AsyncBroker


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m leveret.broker",
        description="An AMQP 0-9-1 broker in memory, for development and tests.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port; 0 takes a free one (default: 5672)")
    parser.add_argument(
        "--user",
        action="append",
        metavar="NAME:PASSWORD",
        help="a user; may be given again (default: guest:guest)",
    )
    parser.add_argument(
        "--vhost", action="append", metavar="NAME", help="a virtual host (default: /)"
    )
    parser.add_argument("--heartbeat", type=int, default=60, help="seconds (default: %(default)s)")
    parser.add_argument("--certificate", metavar="FILE", help="PEM file: serve TLS only")
    parser.add_argument("--key", metavar="FILE", help="PEM file with the key of the certificate")
    parser.add_argument("-v", "--verbose", action="store_true", help="log connections and refusals")
    return parser


def _broker(arguments: argparse.Namespace) -> AsyncBroker:
    users = None
    if arguments.user:
        users = dict(_name_and_password(given) for given in arguments.user)
    context = None
    if arguments.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate, arguments.key)
    port = arguments.port
    if port is None:
        port = DEFAULT_PORT if context is None else TLS_PORT
    return AsyncBroker(
        arguments.host,
        port,
        users=users,
        virtual_hosts=arguments.vhost or ("/",),
        ssl_context=context,
        heartbeat=arguments.heartbeat,
    )


def _name_and_password(given: str) -> tuple[str, str]:
    name, colon, password = given.partition(":")
    if not colon or not name:
        raise ConfigurationError(f"--user {given}: expected NAME:PASSWORD")
    return name, password


async def _serve(broker: AsyncBroker) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt instead
            loop.add_signal_handler(number, stopping.set)
    async with broker:
        print(broker.url, flush=True)
        await stopping.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit status.

    Args:
        argv: the arguments without the program's name; None for those of the process.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        asyncio.run(_serve(_broker(arguments)))
    except KeyboardInterrupt:
        pass
    except (ConfigurationError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
