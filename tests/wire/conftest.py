"""Every test of the layer runs over both codecs, in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from leveret import wire
from leveret.wire import properties

CODECS = {"pure": "leveret.wire.pure", "compiled": "leveret.wire._speedups"}

# test_twins compares as the fuzz target does
sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))


def load(name: str) -> ModuleType:
    """One codec, whichever of them the process uses."""
    if name == "compiled":
        pytest.importorskip(CODECS[name], reason="the compiled codec was not built")
    return import_module(CODECS[name])


@pytest.fixture(scope="module", autouse=True, params=CODECS)
def codec(request: pytest.FixtureRequest) -> Iterator[str]:
    """`leveret.wire` with each codec in turn; the name of the one."""
    name: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        functions = load(name)
        for each in set(functions.__all__) & set(wire.__all__):
            patch.setattr(wire, each, getattr(functions, each))
        patch.setattr(properties, "_encode", functions.encode_properties)
        patch.setattr(properties, "_decode", functions.decode_properties)
        yield name
