"""The four exchange types: from a routing key or headers to destinations. Pure.

A router belongs to one exchange and holds its bindings in the form in which they are asked for;
it knows destinations only as keys of a dict. What a destination is (a queue, another exchange),
which binding is there twice, and the walk from exchange to exchange are `vhost`'s matter.

- direct: the binding key equals the routing key.
- fanout: every binding matches.
- topic: keys are words between dots; `*` stands for one word, `#` for none or more (AMQP 0-9-1,
  3.1.3.3). An empty key has no words at all, and words may be empty. The bindings form a trie;
  a routing key is matched by keeping the set of nodes reached so far, so that the work is the
  number of words times the number of nodes, however many `#` a pattern has.
- headers: the arguments of the binding are compared with the headers of the message (3.1.3.4);
  `x-match` says whether all or any must be equal, and whether those with names in `x-` count
  (RabbitMQ, "Headers Exchange"). Values are equal only if their types are: 1 is neither 1.0 nor
  true nor "1". A binding value of void asks only for the header's presence.

One destination may be bound in several ways, so each place counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from ..exceptions import PreconditionFailed
from .arguments import type_name
from .faults import fault

__all__ = [
    "EXCHANGE_TYPES",
    "DirectRouter",
    "FanoutRouter",
    "HeadersRouter",
    "Router",
    "TopicRouter",
    "freeze",
    "same",
]

D = TypeVar("D", bound=Hashable)

Headers = Mapping[str, object]
NO_HEADERS: Headers = {}

MAX_HASH_WORDS = 2
MATCH_MODES = ("all", "any", "all-with-x", "any-with-x")


def same(left: object, right: object) -> bool:
    """Equality of two header values, type included."""
    return left is right or (type(left) is type(right) and freeze(left) == freeze(right))


def freeze(value: object) -> Hashable:
    """A hashable form of a field value; equal only for equal values of equal types."""
    if isinstance(value, Mapping):
        return ("table", tuple(sorted((name, freeze(item)) for name, item in value.items())))
    if isinstance(value, (list, tuple)):
        return ("array", tuple(freeze(item) for item in value))
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    return (type(value).__name__, repr(value))


class Router(Generic[D]):
    """What every exchange type can do.

    Attributes:
        by_key: whether the routing key alone decides, so that a result may be remembered.
    """

    by_key: ClassVar[bool] = True

    def validate(self, key: str, arguments: Headers) -> None:
        """Raise `PreconditionFailed` for a binding that this exchange type refuses."""

    def add(self, destination: D, key: str, arguments: Headers) -> None:
        """A binding is new."""
        raise NotImplementedError

    def remove(self, destination: D, key: str, arguments: Headers) -> None:
        """A binding that was added is gone."""
        raise NotImplementedError

    def match(self, keys: Sequence[str], headers: Headers) -> Iterable[D]:
        """The destinations of a message; one may come more than once."""
        raise NotImplementedError


def _count_up(counts: dict[D, int], destination: D) -> None:
    counts[destination] = counts.get(destination, 0) + 1


def _count_down(counts: dict[D, int], destination: D) -> None:
    left = counts[destination] - 1
    if left:
        counts[destination] = left
    else:
        del counts[destination]


class DirectRouter(Router[D]):
    """The routing key equals the binding key."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[D, int]] = {}

    def add(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        _count_up(self._by_key.setdefault(key, {}), destination)

    def remove(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        counts = self._by_key[key]
        _count_down(counts, destination)
        if not counts:
            del self._by_key[key]

    def match(self, keys: Sequence[str], headers: Headers) -> Iterable[D]:
        """See `Router`."""
        if len(keys) == 1:
            return list(self._by_key.get(keys[0], ()))
        return [found for key in keys for found in self._by_key.get(key, ())]


class FanoutRouter(Router[D]):
    """Every binding matches."""

    def __init__(self) -> None:
        self._counts: dict[D, int] = {}

    def add(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        _count_up(self._counts, destination)

    def remove(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        _count_down(self._counts, destination)

    def match(self, keys: Sequence[str], headers: Headers) -> Iterable[D]:
        """See `Router`."""
        return list(self._counts)


class _Node(Generic[D]):
    """A node of the trie: what is bound by the words up to here, and the words that follow."""

    __slots__ = ("children", "counts", "many")

    def __init__(self, many: bool) -> None:
        self.many = many  # reached by `#`: stays reached by any further word
        self.children: dict[str, _Node[D]] = {}
        self.counts: dict[D, int] = {}


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


class TopicRouter(Router[D]):
    """Patterns of words."""

    def __init__(self) -> None:
        self._root: _Node[D] = _Node(many=False)

    def validate(self, key: str, arguments: Headers) -> None:
        """See `Router`; RabbitMQ 4.3 takes at most two `#` in a pattern."""
        found = _words(key).count("#")
        if found > MAX_HASH_WORDS:
            raise fault(
                PreconditionFailed,
                f"Topic binding key '{key}' uses {found} '#' wildcards, "
                f"at most {MAX_HASH_WORDS} are allowed",
            )

    def add(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        node = self._root
        for word in _words(key):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node(many=word == "#")
            node = child
        _count_up(node.counts, destination)

    def remove(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        path = [self._root]
        words = _words(key)
        for word in words:
            path.append(path[-1].children[word])
        _count_down(path[-1].counts, destination)
        for word in reversed(words):
            node = path.pop()
            if node.counts or node.children:
                return
            del path[-1].children[word]

    def match(self, keys: Sequence[str], headers: Headers) -> Iterable[D]:
        """See `Router`."""
        found: dict[D, None] = {}
        for key in keys:
            for node in self._reached(_words(key)):
                found.update(dict.fromkeys(node.counts))
        return list(found)

    def _reached(self, words: Sequence[str]) -> Iterable[_Node[D]]:
        nodes: dict[_Node[D], None] = {}
        _reach(self._root, nodes)
        for word in words:
            after: dict[_Node[D], None] = {}
            for node in nodes:
                if node.many:
                    after[node] = None
                for name in {word, "*"}:
                    child = node.children.get(name)
                    # `*` and `#` in a routing key are words, and no pattern but themselves
                    if child is not None and not child.many:
                        _reach(child, after)
            nodes = after
            if not nodes:
                break
        return nodes


def _reach(node: _Node[D] | None, nodes: dict[_Node[D], None]) -> None:
    """Add a node, and what `#` reaches from there without a word."""
    while node is not None and node not in nodes:
        nodes[node] = None
        node = node.children.get("#")


class _HeadersBinding(Generic[D]):
    __slots__ = ("count", "destination", "every", "wanted")

    def __init__(self, destination: D, arguments: Headers) -> None:
        mode = arguments.get("x-match", "all")
        with_x = mode in ("all-with-x", "any-with-x")
        self.count = 0
        self.destination = destination
        self.every = mode not in ("any", "any-with-x")
        self.wanted = [
            (name, value)
            for name, value in arguments.items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        ]

    def matches(self, headers: Headers) -> bool:
        tests = (
            name in headers and (value is None or same(headers[name], value))
            for name, value in self.wanted
        )
        return all(tests) if self.every else any(tests)


class HeadersRouter(Router[D]):
    """Headers of the message against arguments of the binding."""

    by_key = False

    def __init__(self) -> None:
        self._bindings: dict[tuple[D, Hashable], _HeadersBinding[D]] = {}

    def validate(self, key: str, arguments: Headers) -> None:
        """See `Router`: `x-match` has four values."""
        mode = arguments.get("x-match", "all")
        if not isinstance(mode, str):
            raise fault(
                PreconditionFailed,
                f"Invalid x-match field type {type_name(mode)} (value {_term(mode)}); "
                "expected longstr",
            )
        if mode not in MATCH_MODES:
            raise fault(
                PreconditionFailed,
                f'Invalid x-match field value <<"{mode}">>; '
                "expected all, any, all-with-x, or any-with-x",
            )

    def add(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        identity = (destination, freeze(arguments))
        binding = self._bindings.get(identity)
        if binding is None:
            binding = self._bindings[identity] = _HeadersBinding(destination, arguments)
        binding.count += 1

    def remove(self, destination: D, key: str, arguments: Headers) -> None:
        """See `Router`."""
        identity = (destination, freeze(arguments))
        binding = self._bindings[identity]
        binding.count -= 1
        if not binding.count:
            del self._bindings[identity]

    def match(self, keys: Sequence[str], headers: Headers) -> Iterable[D]:
        """See `Router`."""
        return [
            binding.destination for binding in self._bindings.values() if binding.matches(headers)
        ]


def _term(value: object) -> str:
    """A plain value as Erlang prints it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


EXCHANGE_TYPES: Mapping[str, type[Router[object]]] = {
    "direct": DirectRouter,
    "fanout": FanoutRouter,
    "headers": HeadersRouter,
    "topic": TopicRouter,
}
