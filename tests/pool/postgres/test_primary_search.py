"""Whoever looks for the primary and is cancelled leaves no connection open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from scalekit_pool.postgres import primary_search
from scalekit_pool.postgres.primary_search import PrimarySearch

pytestmark = pytest.mark.anyio


@dataclass(eq=False)
class Connection:
    """A connection, and what became of it."""

    timeline: int = 1
    terminated: bool = False

    def terminate(self) -> None:
        self.terminated = True


@dataclass
class Servers:
    """Servers of which only the first responds."""

    opened: list[Connection] = field(default_factory=list)

    async def connect(self, number: int) -> Connection:
        if number:
            await asyncio.Event().wait()
        self.opened.append(Connection())
        return self.opened[-1]


async def test_a_search_that_is_cancelled_while_it_waits_for_a_newer_primary_closes_what_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(primary_search, "NEWEST_PRIMARY_WAIT", 60.0)
    servers = Servers()
    search = PrimarySearch(2, servers.connect, 60.0)
    opening = asyncio.create_task(search.open())
    while not (servers.opened or opening.done()):
        await asyncio.sleep(0)
    for _ in range(5):  # into the wait for others
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    await asyncio.sleep(0)
    assert [each.terminated for each in servers.opened] == [True]
    await search.stop()
