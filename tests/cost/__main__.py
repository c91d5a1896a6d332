"""`python -m tests.cost [--record]`."""

from __future__ import annotations

import sys

from .bounds import CODECS, TRIES, count, excesses, least, read, record


def main() -> int:
    counted = {}
    for codec in CODECS:
        counted[codec] = count(codec)
        for _ in range(TRIES - 1):
            counted[codec] = least(counted[codec], count(codec))
    if "--record" in sys.argv[1:]:
        record(counted)
    bounds, _ = read()
    for codec in CODECS:
        for name, cost in counted[codec].items():
            print(f"{name}, {codec}: {cost.calls} calls, {cost.system:.2f} system calls")
            print("".join(f"    {often} {which}\n" for which, often in cost.functions.items()))
    lines = [line for codec in CODECS for line in excesses(counted[codec], codec, bounds)]
    print("\n".join(lines) or "within the bounds")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
