"""Callers that write and read keys of their own during failovers, and check every reply."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from scalekit_redis import Redis, RedisUnavailable, Script
from tests.lib.redis.poll import until

COUNT = Script("return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1])}")


class Load:
    """The *callers* of one client; ``outcomes`` counts commands, ``wrong`` lists replies that no master could send.

    Sentinel may lose writes that no replica has received. So a caller accepts an older value only when *master* has
    changed since its last write, until its next one.
    """

    def __init__(self, redis: Redis, master: Callable[[], object]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._redis = redis
        self._master = master
        self._stop = asyncio.Event()
        self._prepared = redis.prepare(COUNT, (1,))

    async def served(self, number: int = 100) -> None:
        """Wait until *number* more commands have succeeded."""
        before = self.outcomes["served"]
        await until("more served commands", lambda: self.outcomes["served"] >= before + number)

    async def run(self, callers: int) -> None:
        await asyncio.gather(*(self._call(caller) for caller in range(callers)))

    def stop(self) -> None:
        self._stop.set()

    async def _call(self, caller: int) -> None:
        number, floor = 0, 0
        while not self._stop.is_set():
            number += 1
            try:
                writer = self._master()  # before the write: the reply may arrive just before a failover
                await self._redis.set(f"own:{caller}", f"{caller}:{number}")
                floor = number
                reply = await self._redis.get(f"own:{caller}")
                key, count = await self._prepared.run(f"count:{caller}")
            except RedisUnavailable as error:
                self.outcomes[error.kind] += 1
            else:
                self.outcomes["served"] += 1
                if writer != self._master():
                    floor = 0
                self._check(caller, reply, floor)
                if key != f"count:{caller}".encode() or not isinstance(count, int):
                    self.wrong.append(f"{caller}: {key!r} {count!r}")
            await asyncio.sleep(0.002)

    def _check(self, caller: int, reply: bytes | None, floor: int) -> None:
        owner, _, value = (reply or b"%d:0" % caller).decode().partition(":")
        if owner != str(caller) or int(value) < floor:
            self.wrong.append(f"{caller}: {reply!r}, expected {floor} or newer")


@asynccontextmanager
async def running_load(redis: Redis, master: Callable[[], object], callers: int = 16) -> AsyncGenerator[Load, None]:
    """Run the callers while inside; fail when a reply was wrong."""
    load = Load(redis, master)
    task = asyncio.create_task(load.run(callers))
    try:
        yield load
    finally:
        load.stop()
        await task
    assert load.wrong == [], load.wrong
