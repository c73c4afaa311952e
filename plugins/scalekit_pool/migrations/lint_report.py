"""Warn of pending migrations that lock tables of PostgreSQL."""

from __future__ import annotations

import re

from scalekit.contracts import Database
from scalekit_pool.migrations.files import Migration, migrations_folder, read_migrations, uses_alembic
from scalekit_pool.migrations.lint.linter import MigrationLinter
from scalekit_pool.migrations.source import alembic_session, pending_migrations

_REVISION = re.compile(r"^-- Running upgrade .*-> (?P<revision>\w+)$", re.MULTILINE)


async def lint_pending(database: Database, migrations: str) -> list[str]:
    """Return a warning for each statement of a pending migration that locks; on SQLite, with one writer, none.

    Raise MigrationError when the migrations are invalid, and LintError when squawk fails.
    """
    if database.dialect != "postgresql":
        return []
    has_timeout = await database.fetch_val("SELECT current_setting('lock_timeout') <> '0'")
    excluded = frozenset({"require-lock-timeout"} if has_timeout else ())
    if uses_alembic(migrations):
        return await _lint_revisions(database, migrations, MigrationLinter(False, excluded))
    pending = await pending_migrations(database, migrations)
    warnings = []
    for migration in read_migrations(migrations_folder(migrations), database.dialect):
        if migration.name in pending:
            found = await _linter(migration, excluded).lint(migration.text)
            warnings += [each.describe(f"{migration.path}:{each.line}") for each in found]
    return warnings


def _linter(migration: Migration, excluded: frozenset[str]) -> MigrationLinter:
    """Return the linter of *migration*; one statement, outside a transaction, cannot have a lock_timeout before it."""
    if migration.in_transaction:
        return MigrationLinter(True, excluded)
    return MigrationLinter(False, excluded | {"require-lock-timeout"})


async def _lint_revisions(database: Database, migrations: str, linter: MigrationLinter) -> list[str]:
    from scalekit_pool.migrations.alembic_environment import offline_sql, read_config
    from scalekit_pool.migrations.alembic_revisions import AlembicMigrations

    async with database.connection() as session:
        alembic = AlembicMigrations(alembic_session(database.dialect, session.raw_connection), migrations)
        revisions = await alembic.read()
    if not revisions.pending or len(revisions.heads) > 1:
        return []
    start = revisions.heads[0] if revisions.heads else "base"
    try:
        sql = offline_sql(read_config(migrations), database.dialect, f"{start}:head")
    except Exception as error:  # of code that reads from the database, which there is none of
        return [f"{migrations}: not linted, since the revisions cannot become SQL: {type(error).__name__}: {error}"]
    names = {name.partition("_")[0]: name for name in revisions.pending}
    places = [(match.start(), match["revision"]) for match in _REVISION.finditer(sql)]
    lines = [(sql.count("\n", 0, start) + 1, names.get(revision, revision)) for start, revision in places]
    warnings = []
    for each in await linter.lint(sql):
        before = [name for line, name in lines if line <= each.line]
        if before:  # what precedes the first revision is Alembic's own table
            warnings.append(each.describe(before[-1]))
    return warnings
