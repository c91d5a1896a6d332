"""rabbitmq-c: becomes the C program, which prints the JSON line itself."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import native
from bench.clients.driver import arguments
from bench.jobs import HEARTBEAT


def main() -> int:
    with arguments() as task:
        values = (
            task.url,
            task.job.kind,
            task.queue,
            task.exchange,
            task.messages,
            len(task.body),
            task.job.in_flight,
            int(task.job.ack),
            task.job.prefetch,
            HEARTBEAT,
            task.job.channels,
            task.job.held,
            int(task.job.peer),
        )
        command = [str(native.build()), *map(str, values)]
        if not task.owned:
            os.execv(command[0], command)  # what ends this process then ends the program
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
