"""The command line: which server, which step, which exit status.

Exit status 0 is done, 1 failed, 2 wrong arguments, 3 unavailable: this machine does not allow
it, and the message says what is missing. Two servers are handled at the same time, and one that
fails does not keep the other from being served.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from debian import apt
from debian.running import Failed, Unavailable, locked, say

from . import certificates, roots
from .nodes import START_TIMEOUT, Node
from .state import CERTIFICATES, HOME, SERVERS

HELP = """\
commands:
  install [3|4]            put the server on this machine, if it is not there
  start [3|4]              install it, start it, wait until AMQP answers
  stop [3|4]               end it, with everything that belongs to it
  restart [3|4]            stop and start, on the same ports, keeping the data
  url [3|4] [--tls]        print the URL of a running server
  status [3|4] [--json]    what is installed and running, and if not, why
  ctl 3|4 -- ARGUMENT...   run rabbitmqctl on the node
  certs [DIR]              make the certificates of the TLS tests (no server needed)

Without a number, both servers. Exit status: 0 done, 1 failed, 3 not possible on this machine.

environment:
  LEVERET_RABBITMQ_PORT_BASE_3, _4   first port of a server's block (35670, 45670): AMQP is at
                                     base + 2, AMQP over TLS at base + 1; taken blocks are passed
  LEVERET_RABBITMQ_CACHE             folder of the chroots, shared by clones
"""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.handler(options))
    except Unavailable as error:
        print(f"tools/rabbitmq: {error}", file=sys.stderr)
        return 3
    except Failed as error:
        print(f"tools/rabbitmq: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/rabbitmq",
        description="Real RabbitMQ servers for the tests, from Debian's packages.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True)

    def command(name: str, handler: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(handler=handler)
        return added

    def with_server(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("server", nargs="?", choices=SERVERS)
        return added

    with_server(command("install", _install))
    for name, handler in (("start", _start), ("restart", _restart)):
        added = with_server(command(name, handler))
        added.add_argument("--timeout", type=float, default=START_TIMEOUT, help="seconds")
        added.add_argument("--fresh", action="store_true", help="forget queues and messages first")
    with_server(command("stop", _stop))
    with_server(command("url", _url)).add_argument("--tls", action="store_true")
    with_server(command("status", _status)).add_argument("--json", action="store_true")
    ctl = command("ctl", _ctl)
    ctl.add_argument("server", choices=SERVERS)
    ctl.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ARGUMENT...")
    command("certs", _certs).add_argument("folder", nargs="?", type=Path, default=CERTIFICATES)
    return parser


def _each(options: argparse.Namespace, step: Callable[[Node], None]) -> int:
    """Do one step for the chosen servers, side by side, under this clone's lock."""
    numbers = [options.server] if options.server else list(SERVERS)
    status = 0
    with locked(HOME / "lock"), ThreadPoolExecutor(len(numbers)) as pool:
        futures = {number: pool.submit(step, Node(number)) for number in numbers}
        for number, future in futures.items():
            try:
                future.result()
            except Unavailable as error:
                print(f"tools/rabbitmq: RabbitMQ {number}: {error}", file=sys.stderr)
                status = status or 3
            except Failed as error:
                print(f"tools/rabbitmq: RabbitMQ {number}: {error}", file=sys.stderr)
                status = 1
    return status


def _install(options: argparse.Namespace) -> int:
    def step(node: Node) -> None:
        root = roots.install(node.number)
        say(f"RabbitMQ {root.version} is installed, from Debian {root.origin}" + _aside(root.note))

    return _each(options, step)


def _start(options: argparse.Namespace) -> int:
    return _each(options, lambda node: _bring_up(node, options))


def _restart(options: argparse.Namespace) -> int:
    def step(node: Node) -> None:
        node.stop()
        _bring_up(node, options)

    return _each(options, step)


def _bring_up(node: Node, options: argparse.Namespace) -> None:
    root = roots.install(node.number)
    reason = roots.why_not_run(root)
    if reason is not None:
        raise Unavailable(reason)
    apt.need_command("openssl", "openssl")
    certificates.make(CERTIFICATES)
    if options.fresh:
        node.stop()
        node.wipe()
    started = node.start(root, options.timeout)
    word = "runs" if started else "was running"
    say(f"RabbitMQ {root.version} {word}: {node.url()} {node.tls_url()}" + _aside(root.note))


def _stop(options: argparse.Namespace) -> int:
    def step(node: Node) -> None:
        word = "stopped" if node.stop() else "was not running"
        say(f"RabbitMQ {node.number} {word}")

    return _each(options, step)


def _url(options: argparse.Namespace) -> int:
    for number in [options.server] if options.server else SERVERS:
        node = Node(number)
        url = node.tls_url() if options.tls else node.url()
        if url is None or not node.is_alive():
            raise Failed(f"RabbitMQ {number} is not running: tools/rabbitmq start {number}")
        print(url)
    return 0


def _status(options: argparse.Namespace) -> int:
    facts = {
        number: _facts(Node(number)) for number in ([options.server] if options.server else SERVERS)
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for number, fact in facts.items():
        line = f"RabbitMQ {fact['version'] or number}: "
        line += "installed, " if fact["installed"] else "not installed, "
        line += f"running at {fact['url']} {fact['tls_url']}" if fact["running"] else "not running"
        print(line + _aside(str(fact["reason"] or "")))
    return 0


def _facts(node: Node) -> dict[str, object]:
    root = roots.find(node.number)
    running = node.is_running()
    reason: str | None
    if root is None:
        reason = apt.why_not() or "not installed yet"
    else:
        reason = (None if running else roots.why_not_run(root)) or root.note or None
    return {
        "installed": root is not None,
        "version": root.version if root else None,
        "origin": root.origin if root else None,
        "running": running,
        "url": node.url() if running else None,
        "tls_url": node.tls_url() if running else None,
        "node": node.name,
        "certs": str(CERTIFICATES),
        "log": str(node.home / "log"),
        "reason": reason,
    }


def _ctl(options: argparse.Namespace) -> int:
    arguments = options.arguments
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    root = roots.find(options.server)
    if root is None:
        raise Failed(f"RabbitMQ {options.server} is not installed")
    return Node(options.server).ctl(root, arguments)


def _certs(options: argparse.Namespace) -> int:
    apt.need_command("openssl", "openssl")
    certificates.make(options.folder.absolute())
    print(options.folder.absolute())
    return 0


def _aside(note: str) -> str:
    return f" ({note})" if note else ""
