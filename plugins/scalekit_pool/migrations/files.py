"""Read the migrations of a directory: ``0001_create_users.sql``, for one dialect ``0001_create_users.sqlite.sql``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from scalekit import ScalekitError
from scalekit_pool.migrations.sql_script import unfit

DIALECTS = ("postgresql", "sqlite")

_FITTING = re.compile(rf"(?P<name>(?P<number>\d{{1,18}})_[A-Za-z0-9_-]+)(?:\.(?P<dialect>{'|'.join(DIALECTS)}))?\.sql")
_MEANT = re.compile(r"\d.*|.*\.sql", re.IGNORECASE)  # any other file, such as a README, is left alone


class MigrationError(ScalekitError):
    """The migrations of a directory cannot be applied."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; the same text has the same *checksum* whatever ends its lines."""

    number: int
    name: str
    path: Path
    text: str
    checksum: str


def read_migrations(directory: str | Path, dialect: str) -> list[Migration]:
    """Return the migrations for *dialect* by number; raises MigrationError for a file that cannot be one."""
    folder = Path(directory)
    try:
        paths = sorted(path for path in folder.iterdir() if _MEANT.fullmatch(path.name))
    except OSError as error:
        raise MigrationError(
            f"{folder}: {error.strerror}: make the directory, or name another as migrations in [plugins.pool]"
        ) from error
    migrations: dict[int, Migration] = {}
    for path in paths:
        migration = _read(path, dialect)
        if migration is not None:
            other = migrations.setdefault(migration.number, migration)
            if other is not migration:
                raise MigrationError(f"{path}: number {migration.number} is that of {other.path.name} too: rename one")
    if not migrations:
        raise MigrationError(f"{folder}: no migrations for {dialect}: add a file, like 0001_create_users.sql")
    return [migrations[number] for number in sorted(migrations)]


def _read(path: Path, dialect: str) -> Migration | None:
    match = _FITTING.fullmatch(path.name)
    if match is None:
        raise MigrationError(
            f"{path}: not the name of a migration: name it like 0001_create_users.sql or "
            "0001_create_users.sqlite.sql (postgresql, sqlite), or move it away"
        )
    if match["dialect"] not in (None, dialect):
        return None
    text = _text(path)
    if problem := unfit(text, dialect):
        line, remedy = problem
        raise MigrationError(f"{path}:{line}: {remedy}")
    return Migration(int(match["number"]), match["name"], path, text, sha256(text.encode()).hexdigest())


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MigrationError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except OSError as error:
        raise MigrationError(f"{path}: cannot be read: {error.strerror}: put it right, or move it away") from error
    if "\0" in text:
        raise MigrationError(f"{path}: there is a NUL character in it: save it as text in UTF-8")
    return text
