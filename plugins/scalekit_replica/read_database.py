"""The read-only interface of a database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn, TypeAlias

from scalekit import ReadOnlyError
from scalekit.contracts import Database, Row, Values
from scalekit_replica.replica import Operation, T

Value: TypeAlias = Any
"""The value of a column, of any type that the driver returns."""
TransactionOptions = dict[str, Value]
"""The keyword arguments of ``transaction``."""


class ReadDatabase:
    """Reads from *primary*; used while there are no replicas."""

    def __init__(self, primary: Database) -> None:
        self._primary = primary

    async def fetch_all(self, query: object, values: Values | None = None) -> Sequence[Row]:
        """Return all rows."""
        return await self._read(lambda database: database.fetch_all(query, values))

    async def fetch_one(self, query: object, values: Values | None = None) -> Row | None:
        """Return the first row, or None."""
        return await self._read(lambda database: database.fetch_one(query, values))

    async def fetch_val(self, query: object, values: Values | None = None, column: object = 0) -> Value:
        """Return one column of the first row, or None."""
        return await self._read(lambda database: database.fetch_val(query, values, column))

    async def select(
        self,
        table: object,
        *columns: str,
        where: object = None,
        order_by: object = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[dict[str, Value]]:
        """Return only *columns* of *table* by one query; columns of related tables are nested dictionaries."""

        def run(database: Database) -> Awaitable[list[dict[str, Value]]]:
            return database.select(table, *columns, where=where, order_by=order_by, limit=limit, offset=offset)

        return await self._read(run)

    async def iterate(self, query: object, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive, in a transaction."""
        async for row in self._primary.iterate(query, values):
            yield row

    def transaction(
        self, *, force_rollback: bool = False, readonly: bool = False, **options: object
    ) -> AbstractAsyncContextManager[object]:
        """Return a transaction whose reads all use one server; raise ReadOnlyError unless *readonly*."""
        if not readonly:
            raise ReadOnlyError("READS is read-only; use transaction(readonly=True) or DATABASE(request).transaction()")
        return self._transaction({"force_rollback": force_rollback, "readonly": True, **options})

    async def execute(self, query: object, values: Values | None = None) -> NoReturn:
        """Raise ReadOnlyError."""
        raise _refusal("execute")

    async def execute_many(self, query: object, values: Sequence[Values]) -> None:
        """Raise ReadOnlyError."""
        raise _refusal("execute_many")

    async def insert_many(
        self,
        table: object,
        rows: Sequence[Values],
        skip_duplicates: bool = False,
        returning: Sequence[str] | None = None,
    ) -> NoReturn:
        """Raise ReadOnlyError."""
        raise _refusal("insert_many")

    def _read(self, operation: Operation[T]) -> Awaitable[T]:
        return operation(self._primary)

    def _transaction(self, options: TransactionOptions) -> AbstractAsyncContextManager[object]:
        return self._primary.transaction(**options)


def _refusal(method: str) -> ReadOnlyError:
    return ReadOnlyError(f"READS is read-only; write with DATABASE(request).{method}()")
