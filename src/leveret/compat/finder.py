"""Puts `leveret.compat.amqp` behind `import amqp`.

Nothing is imported until someone imports `amqp`. This file stands on its own: `enable` copies it
into the environment, where it runs at the start of every interpreter.
"""

import importlib
import importlib.machinery
import sys

NAME = "amqp"
TARGET = "leveret.compat.amqp"


class Finder:
    """Finds `amqp` and its modules in Leveret; a meta path finder, and the loader of these."""

    leveret_amqp_finder = True

    @staticmethod
    def find_spec(name, path=None, target=None):
        """The module of that name here, if it is one of py-amqp's."""
        if name != NAME and not name.startswith(NAME + "."):
            return None
        return importlib.machinery.ModuleSpec(
            name, Finder, origin=TARGET, is_package=name == NAME
        )

    @staticmethod
    def create_module(spec):
        """The module of Leveret itself, not a copy."""
        target = TARGET + spec.name[len(NAME) :]
        try:
            module = importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name != target:
                raise
            words = f"No module named {spec.name!r}"
            raise ModuleNotFoundError(words, name=spec.name) from None
        spec.loader_state = module.__spec__
        return module

    @staticmethod
    def exec_module(module):
        """Nothing to run: it ran under its own name."""
        module.__spec__, taken = module.__spec__.loader_state, module.__spec__
        if taken.name == NAME:
            import logging

            logging.getLogger("leveret.compat").info("import amqp gives leveret.compat.amqp")


def is_ours(spec):
    """Whether a spec of `amqp` leads to Leveret."""
    return getattr(spec.loader, "leveret_amqp_finder", False)


def is_active():
    """Whether `import amqp` leads to Leveret."""
    return any(getattr(finder, "leveret_amqp_finder", False) for finder in sys.meta_path)


def activate():
    """Have `import amqp` lead to Leveret from now on.

    Raises:
        ImportError: another `amqp` has been imported already.
    """
    module = sys.modules.get(NAME)
    if module is not None and not module.__name__.startswith("leveret."):
        raise ImportError(
            f"amqp is imported already, from {getattr(module, '__file__', None)}: "
            "what holds it would not see Leveret"
        )
    if not is_active():
        sys.meta_path.insert(0, Finder)
