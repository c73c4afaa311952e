"""The read-only interface of a database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from scalekit import ReadOnlyError
from scalekit.contracts import Database, Row, Values
from scalekit_replica.replica import Operation


class ReadDatabase:
    """Reads from *primary*; used while there are no replicas."""

    def __init__(self, primary: Database) -> None:
        self._primary = primary

    async def fetch_all(self, query: Any, values: Values | None = None) -> Sequence[Row]:
        """Return all rows."""
        rows: Sequence[Row] = await self._read(_fetch_all, query, values)
        return rows

    async def fetch_one(self, query: Any, values: Values | None = None) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = await self._read(_fetch_one, query, values)
        return row

    async def fetch_val(self, query: Any, values: Values | None = None, column: Any = 0) -> Any:
        """Return one column of the first row, or None."""
        return await self._read(_fetch_val, query, values, column)

    async def select(
        self,
        table: Any,
        *columns: str,
        where: Any = None,
        order_by: Any = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return only *columns* of *table* by one query; columns of related tables are nested dictionaries."""
        rows: list[dict[str, Any]] = await self._read(_select, table, columns, where, order_by, limit, offset)
        return rows

    async def iterate(self, query: Any, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive, in a transaction."""
        async for row in self._primary.iterate(query, values):
            yield row

    def transaction(
        self, *, force_rollback: bool = False, readonly: bool = False, **options: Any
    ) -> AbstractAsyncContextManager[Any]:
        """Return a transaction whose reads all use one server; raise ReadOnlyError unless *readonly*."""
        if not readonly:
            raise ReadOnlyError("READS is read-only; use transaction(readonly=True) or DATABASE(request).transaction()")
        return self._transaction({"force_rollback": force_rollback, "readonly": True, **options})

    async def execute(self, query: Any, values: Values | None = None) -> Any:
        """Raise ReadOnlyError."""
        raise _refusal("execute")

    async def execute_many(self, query: Any, values: Sequence[Values]) -> None:
        """Raise ReadOnlyError."""
        raise _refusal("execute_many")

    async def insert_many(
        self, table: Any, rows: Sequence[Values], skip_duplicates: bool = False, returning: Sequence[str] | None = None
    ) -> Any:
        """Raise ReadOnlyError."""
        raise _refusal("insert_many")

    def _read(self, operation: Operation, *arguments: Any) -> Awaitable[Any]:
        return operation(self._primary, *arguments)

    def _transaction(self, options: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return self._primary.transaction(**options)


def _refusal(method: str) -> ReadOnlyError:
    return ReadOnlyError(f"READS is read-only; write with DATABASE(request).{method}()")


def _fetch_all(database: Database, query: Any, values: Values | None) -> Any:
    return database.fetch_all(query, values)


def _fetch_one(database: Database, query: Any, values: Values | None) -> Any:
    return database.fetch_one(query, values)


def _fetch_val(database: Database, query: Any, values: Values | None, column: Any) -> Any:
    return database.fetch_val(query, values, column)


def _select(database: Database, table: Any, columns: Sequence[str], *rest: Any) -> Any:
    where, order_by, limit, offset = rest
    return database.select(table, *columns, where=where, order_by=order_by, limit=limit, offset=offset)
