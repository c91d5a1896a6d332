"""The direction of the imports: a lower layer never imports an upper one.

The layers are those of the design: bytes at the bottom, state machines above, then what the
clients share, then the clients and the broker, and the tools of a user on top. The imports are
read with `ast`, those for the type checker and those inside functions too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "leveret"

WIRE = {"exceptions", "types", "wire"}
PROTOCOL = WIRE | {"protocol"}
CLIENT = PROTOCOL | {"client"}
LIBRARY = CLIENT | {"asyncio", "sync", "broker", "leveret"}

# which layers each may import; every one may import itself
MAY_IMPORT: dict[str, set[str]] = {
    "exceptions": set(),
    "types": set(),
    "wire": WIRE,
    "protocol": WIRE,
    "client": PROTOCOL,
    "asyncio": CLIENT,
    "sync": CLIENT,
    "broker": PROTOCOL,
    "leveret": CLIENT | {"sync"},  # `import leveret`: the blocking client's names
    "testing": LIBRARY,
    "compat": LIBRARY,
    "cli": LIBRARY | {"testing", "compat"},
    "__main__": {"cli"},
}

# what the sans-I/O layers get as arguments, or do not have: sockets, threads, loops, clocks
NO_IO = {"asyncio", "select", "selectors", "signal", "socket", "subprocess", "threading", "time"}
SANS_IO = {"exceptions", "types", "wire", "protocol", "client"}
CLOCK_OF_DEADLINES = ("client/deadline.py", "time")

# the core needs nothing but Python; these may import what their extras bring
WITH_EXTRAS = {"cli", "compat", "testing"}


@dataclass(frozen=True)
class Import:
    """One import: where it stands, and the module that it names, `leveret.wire.table`."""

    path: str
    line: int
    layer: str
    module: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.layer} imports {self.module}"

    @property
    def target(self) -> str | None:
        """The layer that it names; None for a module from elsewhere."""
        names = self.module.split(".")
        if names[0] != "leveret":
            return None
        return names[1] if len(names) > 1 else "leveret"


def imports(package: Path) -> Iterator[Import]:
    """Every import in a package called leveret."""
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        parts = ["leveret", *place.with_suffix("").parts]
        layer = "leveret" if place.name == "__init__.py" and len(parts) == 2 else parts[1]
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            for module in _modules(node, parts[:-1], package):
                yield Import(str(place), getattr(node, "lineno", 0), layer, module)


def _modules(node: ast.AST, inside: list[str], package: Path) -> Iterator[str]:
    """The full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = inside[: len(inside) - node.level + 1] if node.level else []
        base += node.module.split(".") if node.module else []
        if base == ["leveret"]:  # `from .. import wire` names a layer, other names are the root's
            for name in node.names:
                there = _is_module(package, name.name)
                yield f"leveret.{name.name}" if there else "leveret"
        else:
            yield ".".join(base)


def _is_module(package: Path, name: str) -> bool:
    return (package / name).is_dir() or (package / f"{name}.py").is_file()


def wrong_arrows(package: Path, may_import: Mapping[str, set[str]]) -> list[str]:
    """The imports that go up or sideways, in words."""
    found = []
    for each in imports(package):
        target = each.target
        if target is None or target == each.layer:
            continue
        if target not in may_import.get(each.layer, set()):
            found.append(str(each))
    return found


def test_no_layer_imports_an_upper_one() -> None:
    assert wrong_arrows(PACKAGE, MAY_IMPORT) == []


def test_every_part_of_the_package_has_its_layer() -> None:
    """A new folder or file of the package must be given its place above."""
    assert {each.layer for each in imports(PACKAGE)} <= set(MAY_IMPORT)


def test_layers_without_io_have_none() -> None:
    wrong = [
        str(each)
        for each in imports(PACKAGE)
        if each.layer in SANS_IO
        and each.module.split(".")[0] in NO_IO
        and (each.path, each.module) != CLOCK_OF_DEADLINES
    ]
    assert wrong == []


def test_the_core_needs_nothing_but_python() -> None:
    wrong = [
        str(each)
        for each in imports(PACKAGE)
        if each.target is None
        and each.layer not in WITH_EXTRAS
        and each.module.split(".")[0] not in sys.stdlib_module_names
    ]
    assert wrong == []


# -- the test of the test ------------------------------------------------------------------


def make(root: Path, files: Mapping[str, str]) -> Path:
    """A package of these files."""
    package = root / "leveret"
    for folder in ("wire", "protocol", "client", "asyncio", "sync", "broker", "cli"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "exceptions.py").touch()
    for name, text in files.items():
        (package / name).write_text(text)
    return package


@pytest.mark.parametrize(
    ("path", "statement", "module"),
    [
        ("wire/table.py", "from ..protocol import Connection", "leveret.protocol"),
        ("wire/table.py", "from .. import protocol", "leveret.protocol"),
        ("wire/table.py", "import leveret.client.core", "leveret.client.core"),
        ("protocol/a.py", "def f():\n    from leveret.client import core", "leveret.client"),
        (
            "protocol/a.py",
            "if TYPE_CHECKING:\n    from ..client.core import X",
            "leveret.client.core",
        ),
        ("client/a.py", "from ..sync import Channel", "leveret.sync"),
        ("sync/a.py", "from ..asyncio.channel import Channel", "leveret.asyncio.channel"),
        ("asyncio/a.py", "from leveret.sync import Channel", "leveret.sync"),
        ("broker/a.py", "from ..client.deadline import Deadline", "leveret.client.deadline"),
        ("sync/a.py", "from ..broker import Broker", "leveret.broker"),
        ("asyncio/__init__.py", "from .. import connect", "leveret"),
        ("exceptions.py", "from .wire import Properties", "leveret.wire"),
        ("__init__.py", "from .cli import main", "leveret.cli"),
        ("nowhere.py", "from .wire import Properties", "leveret.wire"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path: Path, path: str, statement: str, module: str) -> None:
    found = wrong_arrows(make(tmp_path, {path: statement}), MAY_IMPORT)
    assert len(found) == 1
    assert found[0].startswith(f"{path}:")
    assert found[0].endswith(f" imports {module}")


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        ("asyncio/a.py", "import asyncio"),
        ("asyncio/a.py", "from asyncio import Event"),
        ("asyncio/a.py", "from .channel import Channel"),
        ("asyncio/a.py", "from .. import protocol, wire"),
        ("sync/a.py", "from ..client.channel import BaseChannel"),
        ("broker/a.py", "from .. import wire"),
        ("__init__.py", "from .sync import connect"),
        ("cli/a.py", "from .. import connect"),
        ("cli/a.py", "from ..asyncio import connect"),
        ("client/a.py", "import amqp"),
    ],
)
def test_a_right_arrow_is_not(tmp_path: Path, path: str, statement: str) -> None:
    assert wrong_arrows(make(tmp_path, {path: statement}), MAY_IMPORT) == []
