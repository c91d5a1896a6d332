"""Leveret's drop-in for py-amqp: the program of py_amqp.py, to the letter."""

from __future__ import annotations

from leveret import codec, compat

compat.takeover()  # before anything, the driver too, imports amqp

from bench.clients import py_amqp  # noqa: E402
from bench.clients.driver import run  # noqa: E402


class Client(py_amqp.Client):
    distribution = "leveret"
    detail = codec


if __name__ == "__main__":
    run(Client)
