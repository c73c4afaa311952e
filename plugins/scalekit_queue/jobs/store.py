"""The store of jobs, in any database that executes its statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import asdict, dataclass
from math import inf
from time import time
from typing import Any, Protocol, TypeVar

import orjson

from scalekit import Unavailable
from scalekit.contracts import JobState, JobStatus, Statements
from scalekit_queue.envelope import Envelope, storable_text
from scalekit_queue.jobs import statements

T = TypeVar("T")
Rows = Sequence[Any]
Execute = Callable[[str, Mapping[str, object]], Awaitable[Rows]]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A row of the table: *result* is JSON text, *expires* when the row may be deleted."""

    id: str
    name: str
    state: JobState
    attempt: int
    published: float
    expires: float
    started: float | None = None
    ended: float | None = None
    progress: float = 0.0
    note: str = ""
    result: str | None = None
    error: str = ""


class JobDatabase(Protocol):
    """Executes the statements of the store; *dialect* is ``sqlite`` or ``postgresql``.

    *is_transactional* is whether `fetch_in` can join the transactions of the application.
    """

    table: str
    is_transactional: bool

    @property
    def dialect(self) -> str:
        """The dialect of the database."""
        ...

    async def fetch(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create missing tables, execute *sql* and return its rows; raises an error within a few seconds."""
        ...

    async def read(self, sql: str, values: Mapping[str, object]) -> Rows:
        """Create missing tables, execute *sql*, which writes nothing, and return its rows; raises as `fetch` does."""
        ...

    async def fetch_in(self, transaction: Statements, sql: str, values: Mapping[str, object]) -> Rows:
        """Execute *sql* in the current transaction of *transaction*."""
        ...

    async def fetch_and_publish(self, sql: str, values: Mapping[str, object], envelope: Envelope) -> Rows:
        """Execute *sql* and, if it returns rows, publish *envelope* in the same transaction; return the rows."""
        ...


async def commit_apart(database: JobDatabase, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*, whose statements are committed before the current transaction of the caller."""
    if database.dialect == "sqlite":  # which has one writer: another task would wait for this one's transaction
        return await work
    return await asyncio.create_task(work, context=Context())


class JobStore:
    """The jobs of the service with *prefix* in *database*."""

    def __init__(self, database: JobDatabase, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        source = statements.SOURCES[database.dialect]
        self._upsert = statements.UPSERT.format(table=database.table, source=source)

    @property
    def dialect(self) -> str:
        """The dialect of the database."""
        return self._database.dialect

    @property
    def is_transactional(self) -> bool:
        """Whether a job can be stored in a transaction of the application."""
        return self._database.is_transactional

    async def write(self, records: Sequence[JobRecord]) -> list[bool]:
        """Store the last one of *records* for each message; return for each, in order, whether its state allowed it."""
        rows = await self._database.fetch(self._upsert, self._values(records))
        written = {(row[0], row[1]) for row in rows}
        return [(each.name, each.id) in written for each in records]

    async def write_in(self, transaction: Statements, record: JobRecord) -> None:
        """Store *record* in the current transaction of *transaction*."""
        await self._database.fetch_in(transaction, self._upsert, self._values([record]))

    async def write_result_in(self, transaction: Statements, name: str, identifier: str, result: str) -> None:
        """Store the *result* of a job, as JSON, in the current transaction of *transaction*."""
        values = {"prefix": self._prefix, "id": identifier, "name": name, "result": result}
        sql = statements.WRITE_RESULT.format(table=self._database.table)
        await self._database.fetch_in(transaction, sql, values)

    async def withdraw(self, name: str, identifier: str) -> None:
        """Delete a queued job, whose message was not stored."""
        await self._fetch(statements.WITHDRAW, {"name": name, "id": identifier})

    async def read(self, identifier: str) -> JobStatus | None:
        """Return the status of a message, that of the latest one when several names have the id."""
        rows = await self._execute(
            self._database.read, statements.READ, {"id": storable_text(identifier), "now": time()}
        )
        return status_of(rows[0]) if rows else None

    async def read_recent(self, limit: int) -> list[JobStatus]:
        """Return the latest *limit* jobs of each state, without results: first those that run or wait, then the others.

        Those that have ended are in the order of their ends, the last one first.
        """
        rows = await self._execute(self._database.read, statements.READ_RECENT, {"now": time(), "limit": limit})
        return sorted(map(status_of, rows), key=lambda job: (-(job.ended or inf), -job.published))

    async def cancel(self, identifier: str) -> bool:
        """Cancel the messages with the id that have not ended; return whether there is one."""
        identifier = storable_text(identifier)
        rows = await self._fetch(statements.CANCEL, {"id": identifier, "now": time()})
        if any(row[0] == JobState.CANCELLED for row in rows):
            await self._fetch(statements.RELEASE_CANCELLED, {"id": identifier})
        return bool(rows)

    async def read_cancelling(self) -> set[tuple[str, str]]:
        """Return name and id of the running messages that are to be cancelled."""
        return {(row[0], row[1]) for row in await self._execute(self._database.read, statements.READ_CANCELLING, {})}

    async def delete_expired(self) -> bool:
        """Delete up to DELETE_BATCH expired jobs, of every service; return whether there may be more."""
        sql = statements.DELETE_EXPIRED.format(table=self._database.table)
        return len(await self._database.fetch(sql, {"now": time()})) == statements.DELETE_BATCH

    async def _fetch(self, sql: str, values: Mapping[str, object]) -> Rows:
        return await self._execute(self._database.fetch, sql, values)

    async def _execute(self, execute: Execute, sql: str, values: Mapping[str, object]) -> Rows:
        try:
            return await execute(sql.format(table=self._database.table), {"prefix": self._prefix, **values})
        except TimeoutError:
            raise Unavailable("the store of jobs does not respond") from None

    def _values(self, records: Sequence[JobRecord]) -> dict[str, object]:
        # One statement cannot change a row twice; rows are locked in one order, so that no two processes deadlock.
        latest = {(each.name, each.id): each for each in records}
        rows = [asdict(latest[key]) for key in sorted(latest)]
        return {"prefix": self._prefix, "now": time(), "rows": orjson.dumps(rows).decode()}


def status_of(row: Sequence[Any]) -> JobStatus:
    """Return the status in *row*, which has the COLUMNS of a job."""
    identifier, name, state, attempt, published, started, ended, progress, note, result, error = row
    kept = orjson.loads(result) if result is not None and state == JobState.SUCCEEDED else None
    return JobStatus(identifier, name, JobState(state), attempt, published, started, ended, progress, note, kept, error)
