"""The query methods that a database and a single connection share; subclasses choose the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from scalekit import ReadOnlyError
from scalekit.contracts import Row, TableObserver, Values
from scalekit_pool.compiler import BoundStatement, ExpressionCompiler
from scalekit_pool.driver import BulkInsert, Driver
from scalekit_pool.instrumentation import SchemaChanged
from scalekit_pool.rows import converted
from scalekit_pool.select_builder import build_select
from scalekit_pool.statement_classifier import StatementParser
from scalekit_pool.table_arguments import table_name_of, to_rows
from scalekit_pool.transaction import Transaction
from scalekit_pool.write_tracking import NullTableObserver

Operation = Callable[[Any, str, Sequence[Any]], Awaitable[Any]]


class StatementCompiler:
    """Compiles queries into statements for *driver*; *observer* receives the tables that statements write."""

    observer: TableObserver = NullTableObserver()

    def __init__(self, driver: Driver, parser: StatementParser, expressions: ExpressionCompiler) -> None:
        self.driver = driver
        self.parser = parser
        self.expressions = expressions

    def compile(self, query: Any, values: Values | None) -> BoundStatement:
        """Return *query*, which is SQL text or a SQLAlchemy expression, bound to *values*."""
        if isinstance(query, str):
            statement = self.parser.parse(query)
            return BoundStatement(statement, statement.arguments(values))
        return self.expressions.compile(query, values)


class ReadOnlyCompiler(StatementCompiler):
    """Compiles queries of a read-only database, and refuses statements that may write."""

    def compile(self, query: Any, values: Values | None) -> BoundStatement:
        """Return *query* bound to *values*; raise ReadOnlyError when it may write."""
        bound = super().compile(query, values)
        if not bound.statement.is_read_only:
            raise ReadOnlyError(f"this database is read-only, and the statement may write: {bound.statement.sql}")
        return bound


class QueryMethods:
    """The query methods; a subclass chooses the connection that a statement runs on."""

    compiler: StatementCompiler

    async def run(self, operation: Operation, bound: BoundStatement) -> Any:
        """Run *bound* on a connection by *operation*, which is a method of the driver."""
        raise NotImplementedError

    def session(self) -> Any:
        """Return the session of the current task, or a new one."""
        raise NotImplementedError

    async def fetch_all(self, query: Any, values: Values | None = None) -> Sequence[Row]:
        """Return all rows."""
        bound = self.compiler.compile(query, values)
        rows: Sequence[Row] = await self.run(self.compiler.driver.fetch_all, bound)
        return [converted(row, bound.processors) for row in rows] if bound.processors else rows

    async def fetch_one(self, query: Any, values: Values | None = None) -> Row | None:
        """Return the first row, or None."""
        bound = self.compiler.compile(query, values)
        row: Row | None = await self.run(self.compiler.driver.fetch_one, bound)
        return converted(row, bound.processors) if bound.processors and row is not None else row

    async def fetch_val(self, query: Any, values: Values | None = None, column: Any = 0) -> Any:
        """Return one column of the first row, or None."""
        row = await self.fetch_one(query, values)
        return None if row is None else row[getattr(column, "name", column)]

    async def execute(self, query: Any, values: Values | None = None) -> Any:
        """Run a statement; return the first column of its first row, or on SQLite the last row id if there is none."""
        bound = self.compiler.compile(query, values)
        return await self.run(self.compiler.driver.execute, bound)

    async def execute_many(self, query: Any, values: Sequence[Values]) -> None:
        """Run a statement once for each of *values* in one transaction."""
        statements = [self.compiler.compile(query, each) for each in values]

        async def run_all() -> None:
            async with self.transaction():
                for statement, arguments in _by_statement(statements):
                    await self.session().run(self.compiler.driver.execute_many, BoundStatement(statement, arguments))

        await self._retry_schema_change(run_all)

    def iterate(self, query: Any, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they arrive."""
        raise NotImplementedError

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> Transaction:
        """Return a transaction of the current task, or a savepoint inside its open transaction."""
        return Transaction(self.session, force_rollback, options)

    async def insert_many(
        self, table: Any, rows: Sequence[Values], skip_duplicates: bool = False, returning: Sequence[str] | None = None
    ) -> Any:
        """Insert *rows* in one transaction by the fastest method of the driver; return the number of inserted rows.

        With *returning*, return these columns of the inserted rows instead.
        """
        if not rows:
            return [] if returning else 0
        columns, data = to_rows(table, rows, self.compiler.expressions)
        plan = BulkInsert(table_name_of(table), columns, skip_duplicates, tuple(returning or ()))

        async def run() -> Any:
            async with self.transaction(), self.session() as session:
                return await session.insert(data, plan)

        return await self._retry_schema_change(run)

    async def _retry_schema_change(self, work: Callable[[], Awaitable[Any]]) -> Any:
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
        table: Any,
        *columns: str,
        where: Any = None,
        order_by: Any = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return only *columns* of *table* by one query; columns of related tables are nested dictionaries."""
        query, shape = build_select(table, columns, where=where, order_by=order_by, limit=limit, offset=offset)
        rows: Any = await self.fetch_all(query)
        return shape(rows)


def _by_statement(statements: Sequence[BoundStatement]) -> list[tuple[Any, list[Sequence[Any]]]]:
    """Group consecutive *statements* of the same text."""
    groups: list[tuple[Any, list[Sequence[Any]]]] = []
    for bound in statements:
        if not groups or groups[-1][0].sql != bound.statement.sql:
            groups.append((bound.statement, []))
        groups[-1][1].append(bound.arguments)
    return groups
