"""Connecting: addresses, TLS and the handshake, until there is a `Core` to work with."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable
from typing import TypeVar

from ..client.deadline import Deadline
from ..client.parameters import Parameters
from ..exceptions import ConnectFailed, LeveretError
from .transport import Core

__all__ = ["open_core"]

T = TypeVar("T")


async def open_core(parameters: Parameters) -> Core:
    """Connect and do the handshake, all within `parameters.connect_timeout`.

    Raises:
        ConnectFailed: no address of the host could be connected to, or TLS failed.
        DeadlineExceeded: it took too long.
        PeerError, RemoteProtocolError, ConnectionLost: the handshake failed.
    """
    deadline = Deadline(parameters.connect_timeout)
    source = parameters.credentials
    given = source() if callable(source) else source
    if inspect.isawaitable(given):
        given = await _within(deadline, given, "asking for credentials")
    options = parameters.client_options(parameters.with_mechanisms(given))
    where = f"{parameters.host}:{parameters.port}"
    core = Core(parameters, options)
    waiter = core._make_waiter()
    core._open_waiter = waiter
    try:
        await _connect(core, deadline, where)
        await core._result(waiter, deadline, f"the handshake with {where}", None)
    except BaseException:
        waiter.abandoned = True
        await core.discard()
        raise
    finally:
        core._open_waiter = None
    return core


async def _connect(core: Core, deadline: Deadline, where: str) -> None:
    """Connect to the first address of the host that answers; TLS included."""
    parameters = core.parameters
    context = parameters.make_ssl_context()
    hostname = (parameters.server_hostname or parameters.host) if context else None
    loop = asyncio.get_running_loop()
    try:
        infos = await _within(
            deadline,
            loop.getaddrinfo(parameters.host, parameters.port, type=socket.SOCK_STREAM),
            f"resolving {parameters.host!r}",
        )
    except LeveretError:
        raise
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"cannot resolve {parameters.host!r}: {error}") from error
    failures: list[str] = []
    for left, (family, kind, proto, _, address) in zip(
        range(len(infos), 0, -1), infos, strict=True
    ):
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            async with asyncio.timeout(deadline.remaining() / left):
                await loop.sock_connect(sock, address)
        except OSError as error:  # TimeoutError included
            sock.close()
            failures.append(f"{address[0]}: {error.strerror or error or 'no answer in time'}")
            continue
        except BaseException:
            sock.close()
            raise
        opening = loop.create_connection(
            lambda: core, sock=sock, ssl=context, server_hostname=hostname
        )
        try:
            await _within(deadline, opening, f"connecting to {where}")
        except LeveretError:
            raise
        except (OSError, ValueError) as error:
            raise ConnectFailed(f"TLS with {where} failed: {error}") from error
        return
    if not deadline.remaining():
        raise deadline.exceeded(f"connecting to {where}")
    raise ConnectFailed(f"cannot connect to {where}: {'; '.join(failures)}")


async def _within(deadline: Deadline, awaitable: Awaitable[T], operation: str) -> T:
    scope = asyncio.timeout(deadline.remaining())
    try:
        async with scope:
            return await awaitable
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise deadline.exceeded(operation) from error
