"""Apply the numbered SQL files of a directory to a database, in order, each once.

A file and its row in the table ``scalekit_migrations`` are one transaction under a lock: of two workers that start
together one applies a file, and the other sees, once it has the lock, that it is done. Nothing is applied while the
files and the table contradict each other. A database that is ahead of the files is well: it has been migrated by a
newer release, and this one may be on its way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from scalekit_pool.migrations.files import Migration, MigrationError, read_migrations

TABLE = "scalekit_migrations"
_CREATE = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    number BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
)"""
_RECORD = f"INSERT INTO {TABLE} (number, name, checksum) VALUES (?, ?, ?)"
_RECORDED = f"SELECT number, name, checksum FROM {TABLE}"

Applied = dict[int, tuple[str, str]]


class ScriptError(Exception):
    """The database refused a script: what it said, and the line of the statement, or 0 where that is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Migrating(Protocol):
    """One connection to the database that is migrated, in no transaction."""

    @property
    def dialect(self) -> str:
        """``postgresql`` or ``sqlite``."""
        ...

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Return a transaction that is the only one of its kind; raises ScriptError when it cannot be committed."""
        ...

    async def has_table(self, name: str) -> bool:
        """Tell whether there is a table *name*."""
        ...

    async def execute(self, sql: str, *values: Any) -> None:
        """Run a statement that has ``?`` for each of *values*."""
        ...

    async def execute_script(self, text: str) -> None:
        """Run the statements of *text*; raises ScriptError."""
        ...

    async def fetch_all(self, sql: str) -> Sequence[Sequence[Any]]:
        """Return the rows of a query."""
        ...


async def migrate(session: Migrating, directory: str | Path) -> list[str]:
    """Apply what is outstanding and return the names of what was applied now.

    Raises MigrationError, which names file and remedy; what was applied before the error stays.
    """
    migrations = read_migrations(directory, session.dialect)
    applied: list[str] = []
    for _ in migrations:
        outstanding = await _outstanding(session, migrations)
        if not outstanding:
            break
        applied += await _apply_first(session, migrations, outstanding[0].path)
    return applied


async def pending(session: Migrating, directory: str | Path) -> list[str]:
    """Return the names of what `migrate` would apply, and change nothing; raises MigrationError."""
    migrations = read_migrations(directory, session.dialect)
    return [migration.name for migration in await _outstanding(session, migrations)]


async def _apply_first(session: Migrating, migrations: list[Migration], path: Path) -> list[str]:
    """Apply the first outstanding file, at *path* as far as was known without the lock; none if another worker has."""
    try:
        async with session.locked():
            await session.execute(_CREATE)
            outstanding = await _outstanding(session, migrations)
            if not outstanding:
                return []
            first = outstanding[0]
            path = first.path
            # Before the script, which may leave behind a search path without this table.
            await session.execute(_RECORD, first.number, first.name, first.checksum)
            await session.execute_script(first.text)
    except ScriptError as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise MigrationError(
            f"{place}: {error}; nothing of this file was applied: correct it and migrate again"
        ) from error
    return [first.name]


async def _outstanding(session: Migrating, migrations: list[Migration]) -> list[Migration]:
    rows = await session.fetch_all(_RECORDED) if await session.has_table(TABLE) else []
    applied: Applied = {number: (name, checksum) for number, name, checksum in rows}
    _check_that_files_are_as_applied(migrations, applied)
    _check_that_no_file_is_gone(migrations, applied)
    outstanding = [migration for migration in migrations if migration.number not in applied]
    _check_that_none_comes_late(outstanding, migrations, applied)
    return outstanding


def _check_that_files_are_as_applied(migrations: list[Migration], applied: Applied) -> None:
    for migration in migrations:
        name, checksum = applied.get(migration.number, (migration.name, migration.checksum))
        if name != migration.name:
            raise MigrationError(
                f"{migration.path}: number {migration.number} was applied as {name}: give back that name, or the next "
                "number to a file that is new"
            )
        if checksum != migration.checksum:
            raise MigrationError(
                f"{migration.path}: changed after it was applied: restore it, and make the change in a new file"
            )


def _check_that_no_file_is_gone(migrations: list[Migration], applied: Applied) -> None:
    numbers = {migration.number for migration in migrations}
    for number in sorted(applied):
        if number not in numbers and number < max(numbers):
            raise MigrationError(
                f"{migrations[0].path.parent}: {applied[number][0]} was applied and is gone: restore it"
            )


def _check_that_none_comes_late(outstanding: list[Migration], migrations: list[Migration], applied: Applied) -> None:
    last = max(applied, default=-1)
    if outstanding and outstanding[0].number < last:
        following = max(last, migrations[-1].number) + 1
        raise MigrationError(
            f"{outstanding[0].path}: not applied, but the later {applied[last][0]} is: give it the next number, "
            f"like {following:04}"
        )
