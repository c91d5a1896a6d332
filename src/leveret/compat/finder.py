"""Puts `leveret.compat.amqp` behind `import amqp`.

Nothing is imported until someone imports `amqp`. This file stands on its own: `enable` copies it
into the environment, where it runs at the start of every interpreter.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

NAME = "amqp"
TARGET = "leveret.compat.amqp"


class Finder:
    """Finds `amqp` and its modules in Leveret; a meta path finder, and the loader of these."""

    leveret_amqp_finder = True

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module of that name here, if it is one of py-amqp's."""
        if name != NAME and not name.startswith(NAME + "."):
            return None
        if importlib.util.find_spec("leveret") is None:  # uninstalled: let py-amqp be found
            return None
        loader: Any = Finder
        return ModuleSpec(name, loader, origin=TARGET, is_package=name == NAME)

    @staticmethod
    def create_module(spec: Any) -> Any:
        """The module of Leveret itself, not a copy."""
        target = TARGET + spec.name[len(NAME) :]
        try:
            module = importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name != target:
                raise
            words = f"No module named {spec.name!r}"
            raise ModuleNotFoundError(words, name=spec.name) from None
        if spec.name == NAME:  # its modules are there with it, by both names
            for name in [name for name in sys.modules if name.startswith(TARGET + ".")]:
                sys.modules.setdefault(NAME + name[len(TARGET) :], sys.modules[name])
        spec.loader_state = module.__spec__
        return module

    @staticmethod
    def exec_module(module: Any) -> None:
        """Nothing to run: it ran under its own name."""
        module.__spec__, taken = module.__spec__.loader_state, module.__spec__
        if taken.name == NAME:
            from leveret.compat import notice

            notice.say("import amqp gives leveret.compat.amqp")


def is_ours(spec: ModuleSpec) -> bool:
    """Whether a spec of `amqp` leads to Leveret."""
    return getattr(spec.loader, "leveret_amqp_finder", False)


def is_active() -> bool:
    """Whether `import amqp` leads to Leveret."""
    return any(getattr(finder, "leveret_amqp_finder", False) for finder in sys.meta_path)


def activate() -> None:
    """Have `import amqp` lead to Leveret from now on.

    Raises:
        ImportError: another `amqp` has been imported already.
    """
    module = sys.modules.get(NAME)
    if module is not None and not module.__name__.startswith("leveret."):
        raise ImportError(
            f"amqp is imported already, from {getattr(module, '__file__', None)}: "
            "what holds it would not see Leveret. Start the program with "
            "`python -m leveret.compat run`, or call leveret.compat.install() for kombu"
        )
    if not is_active():
        finder: Any = Finder
        sys.meta_path.insert(0, finder)
