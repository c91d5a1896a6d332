"""The command line, `leveret` or `python -m leveret`: one file a command.

It needs click and rich, which are the extra `cli` and no dependency of the library: nothing else
imports this package, and without them it says what to install.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line; ends the process with the command's exit status."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        sys.exit(
            f"leveret: the command line needs {' and '.join(NEEDED)}, and {missing} is not "
            "installed: pip install 'leveret[cli]'"
        )
    app(prog_name="leveret")
