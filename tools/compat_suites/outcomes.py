"""Run unittest modules, and write down how each test came out; runs in upstream's environment.

    python outcomes.py REPORT MODULE...

pytest would not make the scenarios of tests that come from `load_tests`. A line is `passed NAME`,
`failed NAME` or `skipped NAME`; one that is begun and has no outcome has hung or crashed.
"""

from __future__ import annotations

import sys
import traceback
import unittest
from pathlib import Path
from typing import IO, Any


class Outcomes(unittest.TestResult):
    """Writes an outcome as soon as it is known."""

    def __init__(self, report: IO[str]) -> None:
        super().__init__()
        self._report = report
        self._word = ""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._word = "passed"

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        print(self._word, test.id(), file=self._report, flush=True)

    def _fail(self, test: Any, error: Any) -> None:
        self._word = "failed"
        print(test, *traceback.format_exception(*error), sep="\n", flush=True)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._fail(test, err)
        if not isinstance(test, unittest.TestCase):  # a module or a class that cannot be set up
            print("failed", test.id(), file=self._report, flush=True)

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._fail(test, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._word = "skipped"
        print(test.id(), reason, flush=True)


def main(report: str, *modules: str) -> int:
    """The number of tests that failed, as far as an exit status can tell it."""
    sys.path.insert(0, "")
    tests = unittest.defaultTestLoader.loadTestsFromNames(modules)
    with Path(report).open("w", encoding="utf-8") as file:
        result = Outcomes(file)
        tests.run(result)
    return min(len(result.errors) + len(result.failures), 100)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
