"""Objects that are made once a message, without the cost of a constructor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["maker"]

T = TypeVar("T")


def maker(
    cls: type[T], given: Sequence[str], constants: Mapping[str, object]
) -> Callable[..., T]:
    """A function that makes objects of a class with `__slots__`.

    Args:
        cls: what it makes; neither `__new__` nor `__init__` are called.
        given: the attributes that the function takes, by position.
        constants: what the other attributes are.

    Raises:
        AttributeError: the class has no slot of such a name.
    """
    for name in (*given, *constants):
        if not hasattr(getattr(cls, name), "__set__"):
            raise AttributeError(f"{cls.__qualname__}.{name} is not a slot")
    lines = [f"def make({', '.join(given)}):", " self = new(cls)"]
    lines += [f" self.{name} = {name}" for name in given]
    lines += [f" self.{name} = constants_{name}" for name in constants]
    lines.append(" return self")
    names: dict[str, Any] = {f"constants_{name}": value for name, value in constants.items()}
    names.update(new=object.__new__, cls=cls, __name__=__name__)
    exec("\n".join(lines), names)
    make: Callable[..., T] = names["make"]
    return make
