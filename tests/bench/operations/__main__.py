"""One side of a comparison of operations, in a process of its own.

Run as ``python -m tests.bench.operations MODULE NAME ADDRESS``. It opens the case, and then, for each line
``NUMBER`` on its input, repeats the operation so often, as many at once as the case says, and prints the cost of one.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time

import uvloop

from tests.bench.operations import Case


async def work(case: Case, address: str) -> None:
    """Repeat the operation of *case* until the input ends."""
    async with case.open(address) as operation:

        async def repeat(numbers: range) -> None:
            for number in numbers:
                await operation(number)

        await operation(0)
        print(json.dumps({"ready": case.title}), flush=True)
        while line := sys.stdin.readline():
            number = int(line)
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            share = range(0, number, case.at_once)
            await asyncio.gather(*(repeat(range(first, first + len(share))) for first in range(case.at_once)))
            done = len(share) * case.at_once
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            print(json.dumps({"cpu": cpu / done, "wall": wall / done}), flush=True)


if __name__ == "__main__":
    module, name, where = sys.argv[1:]
    uvloop.run(work(importlib.import_module(module).CASES[name], where))
