"""`python -m leveret.compat`: have `import amqp` give Leveret, for an environment or a program.

    python -m leveret.compat enable                  every program of this environment
    python -m leveret.compat disable                 the end of that
    python -m leveret.compat status                  how it is
    python -m leveret.compat run -m celery -A ...    one program: -m module, or a script
"""

from __future__ import annotations

import runpy
import sys

from . import switch, takeover


def main(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    command, *rest = arguments or ["help"]
    if command == "run" and rest and rest != ["-m"]:
        takeover()
        if rest[0] == "-m":
            sys.argv = rest[1:]
            sys.path.insert(0, "")
            runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = rest
            runpy.run_path(rest[0], run_name="__main__")
        return 0
    switches = {"enable": switch.enable, "disable": switch.disable, "status": switch.status}
    if command in switches and not rest:
        print(switches[command]())
        return 0
    print((__doc__ or "").strip(), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
