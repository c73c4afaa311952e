"""A table observer that records the reported tables."""

from __future__ import annotations

from scalekit.contracts import Tables
from scalekit_pool.database import PooledDatabase

ONE = {"id": 1, "name": "a"}
ITEMS_ONLY = frozenset({"items"})


class Recorder:
    """Records the reported tables, and how many items were visible to others at each report of a write."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.read_tables: list[Tables] = []
        self.written: list[Tables] = []
        self.possibly_written: list[Tables] = []
        self.seen: list[int] = []
        self.other: PooledDatabase | None = None

    def read(self, tables: Tables) -> None:
        self.read_tables.append(tables)

    async def wrote(self, tables: Tables) -> None:
        if tables is None or tables:
            self.written.append(tables)
            if self.other is not None:
                self.seen.append(await self.other.fetch_val("SELECT count(*) FROM items"))

    def may_have_written(self, tables: Tables) -> None:
        if tables is None or tables:
            self.possibly_written.append(tables)

    def forget(self) -> None:
        for each in (self.read_tables, self.written, self.possibly_written, self.seen):
            each.clear()
