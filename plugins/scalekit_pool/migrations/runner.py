"""Apply numbered SQL files to a database, in order and each once.

A file and its row in the table ``scalekit_migrations`` are committed in one transaction under a lock: of two workers
that start together, one applies a file, and the other finds it applied once it has the lock. Nothing is applied while
files and table contradict each other. A file that begins with ``-- no-transaction`` has one statement, and is recorded
after it. A database that is ahead of the files is accepted: a newer release migrated it,
and this one may be about to be replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

from scalekit_pool.connections.driver import Value
from scalekit_pool.migrations.files import Migration, MigrationError, read_migrations

TABLE = "scalekit_migrations"
_CREATE = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at {{}}
)"""
_APPLIED_AT = {"mysql": "DATETIME NOT NULL DEFAULT (UTC_TIMESTAMP())"}
_TIMESTAMP = "TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP"
SERVER_TIMEOUT_SLACK = 5.0
"""Seconds after which the server cancels a statement of a worker that died."""
LOCKED = "another worker has held the migration lock for {:g} s: migrate again when it has finished"
INCOMPLETE = "incomplete"
"""The checksum of a file that is being applied, or was applied in part, to a database that cannot roll it back."""
RECORD = f"INSERT INTO {TABLE} (number, name, checksum) VALUES (?, ?, ?)"
_RECORDED = f"SELECT number, name, checksum FROM {TABLE}"
_HISTORY = f"SELECT name, applied_at FROM {TABLE} ORDER BY number DESC"

Applied = dict[int, tuple[str, str]]


NOTHING_APPLIED = "nothing of this file was applied: fix it and migrate again"


class ScriptError(Exception):
    """The database refused a script: its message, the line of the statement, or 0 if unknown, and the *remedy*."""

    def __init__(self, message: str, line: int = 0, remedy: str = NOTHING_APPLIED) -> None:
        super().__init__(message)
        self.line = line
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The *applied* migrations with their times if known, newest first; *error* says why the *pending* are unknown."""

    applied: Sequence[tuple[str, datetime | None]]
    pending: Sequence[str]
    error: str


class MigrationBackend(Protocol):
    """A connection to the database to migrate, outside a transaction."""

    @property
    def dialect(self) -> str:
        """``postgresql``, ``sqlite`` or ``mysql``."""
        ...

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Return a lock as a context manager, a transaction where DDL can be rolled back.

        Raise ScriptError when it cannot be committed.
        """
        ...

    async def has_table(self, name: str) -> bool:
        """Return whether the table *name* exists."""
        ...

    async def execute(self, sql: str, *values: Value) -> None:
        """Run a statement with one ``?`` for each of *values*."""
        ...

    async def apply(self, migration: Migration) -> None:
        """Run the statements of *migration* and record it; raise ScriptError when one fails."""
        ...

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Value]]:
        """Return the rows of a query."""
        ...


class StatementBackend(MigrationBackend, Protocol):
    """A backend that runs statements outside a transaction too; files that ask for it are refused for others."""

    def locked_session(self) -> AbstractAsyncContextManager[None]:
        """Return the lock of ``locked`` as a context manager, without a transaction."""
        ...

    async def execute_alone(self, statement: str) -> None:
        """Run *statement* outside a transaction; raise ScriptError, which says what it left behind, and a remedy."""
        ...


async def migrate(session: MigrationBackend, directory: str | Path) -> list[str]:
    """Apply pending migrations and return the names of those applied now.

    Raise MigrationError, naming file and remedy; migrations applied before the error stay applied.
    """
    migrations = read_migrations(directory, session.dialect)
    applied: list[str] = []
    for _ in migrations:
        pending_migrations = await _find_pending(session, migrations)
        if not pending_migrations:
            break
        first = pending_migrations[0]
        if first.in_transaction:
            applied += await _apply_first(session, migrations, first.path)
        else:
            applied += await _apply_first_alone(cast(StatementBackend, session), migrations, first.path)
    return applied


async def pending(session: MigrationBackend, directory: str | Path) -> list[str]:
    """Return the names of the pending migrations without applying them; raise MigrationError."""
    migrations = read_migrations(directory, session.dialect)
    return [migration.name for migration in await _find_pending(session, migrations)]


async def read_status(session: MigrationBackend, directory: str | Path) -> MigrationStatus:
    """Return which migrations are applied, and which of *directory* are pending, without applying them."""
    history = await session.fetch_all(_HISTORY) if await session.has_table(TABLE) else []
    applied: list[tuple[str, datetime | None]] = [(name, _utc(applied_at)) for name, applied_at in history]
    try:
        return MigrationStatus(applied, await pending(session, directory), "")
    except MigrationError as error:
        return MigrationStatus(applied, [], str(error))


def _utc(value: Value) -> datetime:
    """Return *value* of ``applied_at``, which SQLite has as text, and MySQL without a time zone."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _apply_first(session: MigrationBackend, migrations: list[Migration], path: Path) -> list[str]:
    """Apply the first pending file, *path* as known without the lock; none if another worker has applied it."""
    try:
        async with session.locked():
            await session.execute(_CREATE.format(_APPLIED_AT.get(session.dialect, _TIMESTAMP)))
            pending_migrations = await _find_pending(session, migrations)
            if not pending_migrations or not pending_migrations[0].in_transaction:
                return []
            await _check_complete(session, migrations)
            first = pending_migrations[0]
            path = first.path
            await session.apply(first)
    except ScriptError as error:
        raise MigrationError(f"{_place(path, error)}: {error}; {error.remedy}") from error
    return [first.name]


async def _apply_first_alone(session: StatementBackend, migrations: list[Migration], path: Path) -> list[str]:
    """Apply the first pending file outside a transaction, as ``_apply_first`` does inside one; then record it."""
    try:
        async with session.locked_session():
            await session.execute(_CREATE.format(_TIMESTAMP))
            pending_migrations = await _find_pending(session, migrations)
            if not pending_migrations or pending_migrations[0].in_transaction:
                return []
            first = pending_migrations[0]
            path = first.path
            await session.execute_alone(first.text)
            await session.execute(RECORD, first.number, first.name, first.checksum)
    except ScriptError as error:
        raise MigrationError(f"{_place(path, error)}: {error}, and migrate again") from error
    return [first.name]


def _place(path: Path, error: ScriptError) -> str:
    return f"{path}:{error.line}" if error.line else str(path)


async def _find_pending(session: MigrationBackend, migrations: list[Migration]) -> list[Migration]:
    rows = await session.fetch_all(_RECORDED) if await session.has_table(TABLE) else []
    applied: Applied = {number: (name, checksum) for number, name, checksum in rows if checksum != INCOMPLETE}
    _check_unchanged(migrations, applied)
    _check_none_missing(migrations, applied)
    pending_migrations = [migration for migration in migrations if migration.number not in applied]
    _check_order(pending_migrations, migrations, applied)
    return pending_migrations


async def _check_complete(session: MigrationBackend, migrations: list[Migration]) -> None:
    """Raise MigrationError for a file that was applied in part, which only the holder of the lock can tell."""
    recorded = {number: checksum for number, _, checksum in await session.fetch_all(_RECORDED)}
    for migration in migrations:
        if recorded.get(migration.number) == INCOMPLETE:
            raise MigrationError(
                f"{migration.path}: was applied in part: undo it, or run the rest by hand, and then delete the row of "
                f"its number from {TABLE}, or set its checksum to {migration.checksum}"
            )


def _check_unchanged(migrations: list[Migration], applied: Applied) -> None:
    for migration in migrations:
        name, checksum = applied.get(migration.number, (migration.name, migration.checksum))
        if name != migration.name:
            raise MigrationError(
                f"{migration.path}: number {migration.number} was applied as {name}: restore that name, or use "
                "the next number for a new file"
            )
        if checksum != migration.checksum:
            raise MigrationError(
                f"{migration.path}: changed after it was applied: restore it, and put the change into a new file"
            )


def _check_none_missing(migrations: list[Migration], applied: Applied) -> None:
    numbers = {migration.number for migration in migrations}
    for number in sorted(applied):
        if number not in numbers and number < max(numbers):
            raise MigrationError(
                f"{migrations[0].path.parent}: {applied[number][0]} was applied and is missing: restore it"
            )


def _check_order(pending_migrations: list[Migration], migrations: list[Migration], applied: Applied) -> None:
    last = max(applied, default=-1)
    if pending_migrations and pending_migrations[0].number < last:
        following = max(last, migrations[-1].number) + 1
        raise MigrationError(
            f"{pending_migrations[0].path}: not applied, but the later {applied[last][0]} was: "
            f"rename it to the next number, like {following:04}"
        )
