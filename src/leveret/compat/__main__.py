"""`python -m leveret.compat`: have `import amqp` give Leveret, for an environment or a program.

    python -m leveret.compat enable                  every program of this environment
    python -m leveret.compat disable                 the end of that
    python -m leveret.compat status                  how it is
    python -m leveret.compat run celery -A ...       one program: a script, a command in Python,
                                                     or -m and a module
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from pathlib import Path

from . import switch, takeover


def main(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    command, *rest = arguments or ["help"]
    if command == "run" and rest and rest != ["-m"]:
        return _run(rest)
    switches = {"enable": switch.enable, "disable": switch.disable, "status": switch.status}
    if command in switches and not rest:
        print(switches[command]())
        return 0
    print((__doc__ or "").strip(), file=sys.stderr)
    return 2


def _run(program: list[str]) -> int:
    """Run a program as Python would, after the takeover; `-m MODULE` or a script first."""
    if program[0] == "-m":
        takeover()
        sys.argv = program[1:]
        sys.path.insert(0, "")
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        return 0
    script = _script(program[0])
    if script is None:
        print(f"leveret.compat: no script and no command: {program[0]}", file=sys.stderr)
        return 2
    takeover()
    sys.argv = [script, *program[1:]]
    sys.path.insert(0, str(Path(script).resolve().parent))
    runpy.run_path(script, run_name="__main__")
    return 0


def _script(name: str) -> str | None:
    """A file of that name, or the command: of this environment, else of any in PATH."""
    if Path(name).is_file():
        return name
    beside = os.path.dirname(sys.executable)
    return shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
