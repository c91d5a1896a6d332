"""Which codec is loaded: the one that was asked for, the compiled one where nobody asked."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from zlib import crc32

import pytest

import leveret
from leveret import wire
from leveret.wire import codec as chosen
from leveret.wire import properties, pure

EXTENSION = "leveret.wire._speedups"
SECOND = "leveret.sync._exchange"
BUILT = find_spec(EXTENSION) is not None
needs_extension = pytest.mark.skipif(not BUILT, reason="the compiled codec was not built")
needs_both = pytest.mark.skipif(
    not (BUILT and find_spec(SECOND)), reason="only a part of the compiled codec was built, if any"
)

# What import finds where the extension was not built.
ABSENT = f"import sys; sys.modules[{EXTENSION!r}] = None; "
# ... where only the other one was.
SECOND_ABSENT = f"import sys; sys.modules[{SECOND!r}] = None; "
# ... and where it was built for something else.
BROKEN = f"""
import sys, importlib.abc

class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {EXTENSION!r}:
            raise ImportError("undefined symbol: PyNothing")

sys.meta_path.insert(0, Broken())
"""
PRINT = "import leveret; print(leveret.codec)"
PRINT_BOTH = PRINT + "; from leveret.sync import requests; print(requests._twin.__name__)"
# On Windows the second one is never there. Python's own modules find out where they are before.
ELSEWHERE = """
import os, sys, leveret
for name in [name for name in sys.modules if name.startswith("leveret.sync")]:
    del sys.modules[name]
os.name = "nt"
"""


@pytest.fixture(scope="module", autouse=True)
def codec() -> None:
    """Here, the codec that was chosen."""


def run(code: str, asked_for: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LEVERET_CODEC"}
    if asked_for is not None:
        environment["LEVERET_CODEC"] = asked_for
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_codec_that_was_asked_for_is_the_one_that_works():
    asked_for = os.environ.get("LEVERET_CODEC") or ("compiled" if BUILT else "pure")
    assert leveret.codec == wire.CODEC == asked_for
    expected = pure if asked_for == "pure" else sys.modules[EXTENSION]
    for name in pure.__all__:
        assert getattr(chosen, name) is getattr(expected, name)
        assert getattr(wire, name, None) in (getattr(expected, name), None)
    assert properties._encode is expected.encode_properties
    assert properties._decode is expected.decode_properties


@needs_extension
@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        (EXTENSION, ["wire/_speedups.pyx", "wire/*.pxi"]),
        pytest.param(
            SECOND,
            ["sync/*.pyx", "sync/*.pxi", "wire/_slots.pxi"],
            marks=pytest.mark.skipif(os.name != "posix", reason="for sockets of POSIX"),
        ),
    ],
)
def test_the_extension_was_built_from_the_sources_beside_it(name, patterns):
    folder = Path(leveret.__file__).parent
    sources = [path for pattern in patterns for path in folder.glob(pattern)]
    fingerprint = crc32(b"".join(sorted(path.read_bytes() for path in sources)))
    assert fingerprint == import_module(name).BUILT_FROM, "build it anew: pip install -e ."


@pytest.mark.parametrize("asked_for", ["pure", pytest.param("compiled", marks=needs_extension)])
def test_either_may_be_asked_for(asked_for):
    assert run(PRINT, asked_for).stdout == f"{asked_for}\n"


@pytest.mark.parametrize("asked_for", [None, ""])
def test_the_compiled_one_is_taken_where_it_is_there(asked_for):
    assert run(PRINT, asked_for).stdout == ("compiled\n" if BUILT else "pure\n")
    assert run(ABSENT + PRINT, asked_for).stdout == "pure\n"


def test_asking_for_the_compiled_one_where_it_is_not_there_is_an_import_error():
    done = run(ABSENT + PRINT, "compiled")
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: LEVERET_CODEC=compiled: this installation of leveret has ")


@needs_both
def test_the_second_extension_is_a_part_of_the_codec_that_is_asked_for():
    assert run(PRINT_BOTH, "compiled").stdout == f"compiled\n{SECOND}\n"
    assert run(PRINT_BOTH, "pure").stdout == "pure\nleveret.sync.exchange\n"
    done = run(SECOND_ABSENT + PRINT_BOTH, "compiled")
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    words = f"ImportError: LEVERET_CODEC=compiled: this installation of leveret has no {SECOND}; "
    assert last.startswith(words)


@needs_extension
def test_what_was_not_asked_for_may_be_there_in_part():
    done = run(SECOND_ABSENT + PRINT_BOTH, None)
    assert done.stdout == "compiled\nleveret.sync.exchange\n"


@needs_extension
def test_elsewhere_than_on_posix_the_second_extension_is_no_part_of_it():
    done = run(ELSEWHERE + SECOND_ABSENT + PRINT_BOTH, "compiled")
    assert done.stdout == "compiled\nleveret.sync.exchange\n"


def test_a_name_that_no_codec_has_is_an_import_error():
    done = run(PRINT, "fast")
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: LEVERET_CODEC=fast: it may be pure or compiled"


def test_an_extension_that_cannot_be_loaded_is_not_passed_over_in_silence():
    done = run(BROKEN + PRINT, None)
    assert done.returncode != 0
    assert "undefined symbol: PyNothing" in done.stderr.splitlines()[-1]
    assert run(BROKEN + PRINT, "pure").stdout == "pure\n"
