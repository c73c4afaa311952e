"""The query methods that a database and a single connection share; subclasses choose the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from sqlalchemy import Table

from scalekit.contracts import Row, Values
from scalekit_pool.compiler import BoundStatement, Query, StatementCompiler
from scalekit_pool.connections.driver import Arguments, BulkInsert, Inserted, Operation, T, Value
from scalekit_pool.instrumentation import SchemaChanged
from scalekit_pool.nested_select.builder import build_select
from scalekit_pool.nested_select.nested_rows import NestedRow
from scalekit_pool.statement_classifier import Statement
from scalekit_pool.table_arguments import table_name_of, to_rows
from scalekit_pool.transaction import Transaction, TransactionSession


class QuerySession(TransactionSession, AbstractAsyncContextManager["QuerySession"], Protocol):
    """The session of a task, as the query methods use it."""

    async def run(self, operation: Operation[T], bound: BoundStatement) -> T:
        """Run *bound* on the connection of the session."""
        ...

    async def insert(self, rows: Sequence[Arguments], plan: BulkInsert) -> Inserted:
        """Insert *rows* by *plan*, inside a transaction."""
        ...


class QueryMethods:
    """The query methods; a subclass chooses the connection that a statement runs on."""

    compiler: StatementCompiler

    async def run(self, operation: Operation[T], bound: BoundStatement) -> T:
        """Run *bound* on a connection by *operation*, which is a method of the driver."""
        raise NotImplementedError

    def session(self) -> QuerySession:
        """Return the session of the current task, or a new one."""
        raise NotImplementedError

    async def fetch_all(self, query: Query, values: Values | None = None) -> Sequence[Row]:
        """Return all rows."""
        bound = self.compiler.compile(query, values)
        rows = await self.run(self.compiler.driver.fetch_all, bound)
        return rows if bound.columns is None else bound.columns.convert_all(rows)

    async def fetch_one(self, query: Query, values: Values | None = None) -> Row | None:
        """Return the first row, or None."""
        bound = self.compiler.compile(query, values)
        row = await self.run(self.compiler.driver.fetch_one, bound)
        return row if row is None or bound.columns is None else bound.columns.convert(row)

    async def fetch_val(self, query: Query, values: Values | None = None, column: object = 0) -> Value:
        """Return one column of the first row, or None."""
        row = await self.fetch_one(query, values)
        return None if row is None else row[getattr(column, "name", column)]

    async def execute(self, query: Query, values: Values | None = None) -> Value:
        """Run a statement; return the first column of its first row, or on SQLite the last row id if there is none."""
        bound = self.compiler.compile(query, values)
        if bound.columns is None or not bound.columns.converts_first:
            return await self.run(self.compiler.driver.execute, bound)
        row = await self.run(self.compiler.driver.fetch_one, bound)
        return None if row is None else bound.columns.convert(row)[0]

    async def execute_many(self, query: Query, values: Sequence[Values]) -> None:
        """Run a statement once for each of *values* in one transaction."""
        statements = [self.compiler.compile(query, each) for each in values]

        async def run_all() -> None:
            async with self.transaction():
                for statement, arguments in _by_statement(statements):
                    await self.session().run(self.compiler.driver.execute_many, BoundStatement(statement, arguments))

        await self._retry_schema_change(run_all)

    def iterate(self, query: Query, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive."""
        raise NotImplementedError

    async def on_commit(self, callback: Callable[[], Awaitable[object]]) -> None:
        """Call *callback* once the transaction of the current task is committed, or at once when there is none."""
        transactions = self.session().transactions
        if transactions:
            transactions[-1].callbacks.append(callback)
        else:
            await callback()

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> Transaction:
        """Return a transaction of the current task, or a savepoint inside its open transaction."""
        return Transaction(self.session, force_rollback, options)

    async def insert_many(
        self,
        table: Table | str,
        rows: Sequence[Values],
        skip_duplicates: bool = False,
        returning: Sequence[str] | None = None,
    ) -> Any:
        """Insert *rows* in one transaction by the fastest method of the driver; return the number of inserted rows.

        With *returning*, return these columns of the inserted rows instead.
        """
        if not rows:
            return [] if returning else 0
        columns, data = to_rows(table, rows, self.compiler.expressions)
        plan = BulkInsert(table_name_of(table), columns, skip_duplicates, tuple(returning or ()))

        async def run() -> Inserted:
            async with self.transaction(), self.session() as session:
                return await session.insert(data, plan)

        return await self._retry_schema_change(run)

    async def _retry_schema_change(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run *work*, and again on SchemaChanged, unless the task has an open transaction that this would undo."""
        connections = 0 if self.session().transactions else self.compiler.driver.writers.supplier.size
        for _ in range(connections):
            try:
                return await work()
            except SchemaChanged:
                continue
        return await work()

    async def select(
        self,
        table: Table,
        *columns: str,
        where: object = None,
        order_by: object = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[NestedRow]:
        """Return only *columns* of *table* by one query; columns of related tables are nested dictionaries."""
        query, shape = build_select(table, columns, where=where, order_by=order_by, limit=limit, offset=offset)
        return shape(cast(Sequence[Arguments], await self.fetch_all(query)))


def _by_statement(statements: Sequence[BoundStatement]) -> list[tuple[Statement, list[Arguments]]]:
    """Group consecutive *statements* of the same text."""
    groups: list[tuple[Statement, list[Arguments]]] = []
    for bound in statements:
        if not groups or groups[-1][0].sql != bound.statement.sql:
            groups.append((bound.statement, []))
        groups[-1][1].append(bound.arguments)
    return groups
