"""Two tuples that calls return or callbacks get."""

from __future__ import annotations

from collections import namedtuple

__all__ = ["basic_return_t", "queue_declare_ok_t"]

#: What `Channel.queue_declare` returns.
queue_declare_ok_t = namedtuple(
    "queue_declare_ok_t", ("queue", "message_count", "consumer_count")
)

#: A message that came back.
basic_return_t = namedtuple(
    "basic_return_t", ("reply_code", "reply_text", "exchange", "routing_key", "message")
)
