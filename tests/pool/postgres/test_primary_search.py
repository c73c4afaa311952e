"""A cancelled search for the primary leaves no connection open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from scalekit_pool.postgres import primary_search
from scalekit_pool.postgres.primary_search import PrimarySearch

pytestmark = pytest.mark.anyio


@dataclass(eq=False)
class Connection:
    """A connection, and whether it was closed."""

    timeline: int = 1
    terminated: bool = False

    def terminate(self) -> None:
        self.terminated = True


@dataclass
class Servers:
    """Servers, of which only the first responds."""

    opened: list[Connection] = field(default_factory=list)

    async def connect(self, number: int) -> Connection:
        if number:
            await asyncio.Event().wait()
        self.opened.append(Connection())
        return self.opened[-1]


async def test_a_cancelled_search_closes_the_connections_it_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(primary_search, "NEWEST_PRIMARY_WAIT", 60.0)
    servers = Servers()
    search = PrimarySearch(2, servers.connect, 60.0)
    open_database = asyncio.create_task(search.open())
    while not (servers.opened or open_database.done()):
        await asyncio.sleep(0)
    for _ in range(5):  # until it waits for the other servers
        await asyncio.sleep(0)
    open_database.cancel()
    await asyncio.wait([open_database])
    await asyncio.sleep(0)
    assert [each.terminated for each in servers.opened] == [True]
    await search.stop()
