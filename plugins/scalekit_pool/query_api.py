"""What can be asked of a database and of one connection alike; they differ in where a call runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from scalekit import ReadOnlyError
from scalekit.contracts import Row, TableObserver, Values
from scalekit_pool.compiler import Call, Compiler
from scalekit_pool.driver import Driver, Insertion
from scalekit_pool.instrumentation import SchemaChanged
from scalekit_pool.rows import converted
from scalekit_pool.select_builder import selection
from scalekit_pool.statement_classifier import Reader
from scalekit_pool.table_arguments import as_rows, target_of
from scalekit_pool.transaction import Transaction
from scalekit_pool.write_tracking import Nobody

Operation = Callable[[Any, str, Sequence[Any]], Awaitable[Any]]


class Language:
    """How queries become calls of a driver; *observer* is told which tables are changed."""

    observer: TableObserver = Nobody()

    def __init__(self, driver: Driver, reader: Reader, compiler: Compiler) -> None:
        self.driver = driver
        self.reader = reader
        self.compiler = compiler

    def call(self, query: Any, values: Values | None) -> Call:
        """Return the call that *query*, a text or an expression, is with *values*."""
        if isinstance(query, str):
            statement = self.reader.statement(query)
            return Call(statement, statement.arguments(values))
        return self.compiler.call(query, values)


class ReadOnlyLanguage(Language):
    """The same for a database that is there for reading: what is not known to only read is refused."""

    def call(self, query: Any, values: Values | None) -> Call:
        """Return the call that *query* is; raises ReadOnlyError where it may write."""
        call = super().call(query, values)
        if not call.statement.reads:
            raise ReadOnlyError(f"this database is there for reading, and a statement may write: {call.statement.sql}")
        return call


class Asking:
    """The statements; a subclass says where one runs."""

    language: Language

    async def run(self, operation: Operation, call: Call) -> Any:
        """Run *call* on a connection by *operation*, which is one of the driver's."""
        raise TypeError("a subclass says where")

    def session(self) -> Any:
        """Return the connection that the current task keeps, or one for it."""
        raise TypeError("a subclass says which")

    async def fetch_all(self, query: Any, values: Values | None = None) -> Sequence[Row]:
        """Return every row."""
        call = self.language.call(query, values)
        rows: Sequence[Row] = await self.run(self.language.driver.fetch_all, call)
        return [converted(row, call.processors) for row in rows] if call.processors else rows

    async def fetch_one(self, query: Any, values: Values | None = None) -> Row | None:
        """Return the first row, or None."""
        call = self.language.call(query, values)
        row: Row | None = await self.run(self.language.driver.fetch_one, call)
        return converted(row, call.processors) if call.processors and row is not None else row

    async def fetch_val(self, query: Any, values: Values | None = None, column: Any = 0) -> Any:
        """Return one column of the first row, or None."""
        row = await self.fetch_one(query, values)
        return None if row is None else row[getattr(column, "name", column)]

    async def execute(self, query: Any, values: Values | None = None) -> Any:
        """Run a statement; return the first column of what it returns, on SQLite else the last row's id."""
        call = self.language.call(query, values)
        return await self.run(self.language.driver.execute, call)

    async def execute_many(self, query: Any, values: Sequence[Values]) -> None:
        """Run a statement once for each of *values*, all or nothing."""
        calls = [self.language.call(query, each) for each in values]

        async def run_all() -> None:
            async with self.transaction():
                for statement, arguments in _by_statement(calls):
                    await self.session().run(self.language.driver.execute_many, Call(statement, arguments))

        await self._in_own_transaction(run_all)

    def iterate(self, query: Any, values: Values | None = None) -> AsyncGenerator[Row, None]:
        """Yield rows as they come."""
        raise TypeError("a subclass says where")

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> Transaction:
        """Return a transaction, or a savepoint inside one, of the current task."""
        return Transaction(self.session, force_rollback, options)

    async def insert_many(
        self, table: Any, rows: Sequence[Values], skip_duplicates: bool = False, returning: Sequence[str] | None = None
    ) -> Any:
        """Insert *rows* in the fastest way there is, all or nothing; return how many went in.

        With *returning* it is the rows that went in, with these columns.
        """
        if not rows:
            return [] if returning else 0
        columns, data = as_rows(table, rows, self.language.compiler)
        how = Insertion(target_of(table), columns, skip_duplicates, tuple(returning or ()))

        async def run() -> Any:
            async with self.transaction(), self.session() as session:
                return await session.insert(data, how)

        return await self._in_own_transaction(run)

    async def _in_own_transaction(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do *work*, again where it met a changed schema, unless the transaction that this undoes is the task's."""
        connections = 0 if self.session().transactions else self.language.driver.writers.supply.size
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
        """Return only *columns* of *table*, those of related tables nested, in one query."""
        query, shape = selection(table, columns, where, order_by, limit, offset)
        rows: Any = await self.fetch_all(query)
        return shape(rows)


def _by_statement(calls: Sequence[Call]) -> list[tuple[Any, list[Sequence[Any]]]]:
    """Group *calls* that follow each other and have the same text."""
    groups: list[tuple[Any, list[Sequence[Any]]]] = []
    for call in calls:
        if not groups or groups[-1][0].sql != call.statement.sql:
            groups.append((call.statement, []))
        groups[-1][1].append(call.arguments)
    return groups
