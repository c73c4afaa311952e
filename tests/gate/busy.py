"""Other load on the machine: processes that only use CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOOP = """
print(flush=True)
while True:
    pass
"""


@contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """Run *number* busy loops inside the block, and yield their process ids."""
    command = ["setpriv", "--pdeathsig=KILL", sys.executable, "-S", "-c", LOOP]
    loops: list[subprocess.Popen[bytes]] = []
    try:
        loops.extend(subprocess.Popen(command, process_group=0, stdout=subprocess.PIPE) for _ in range(count))
        for loop in loops:  # until it says so, the kernel does not know yet that it ends with this process
            if loop.stdout is not None:
                loop.stdout.readline()
        yield [loop.pid for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.communicate()
