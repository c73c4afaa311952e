"""Find migrations, and read numbered files: ``0001_create_users.sql``, or ``0001_create_users.sqlite.sql``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from scalekit import ScalekitError, StartError
from scalekit_pool.migrations.sql_script import find_second_statement, find_unsupported, is_outside_transaction

DIALECTS = ("postgresql", "sqlite", "mysql")
ALEMBIC_SUFFIXES = (".ini", ".toml")

_FILE_NAME = re.compile(
    rf"(?P<name>(?P<number>\d{{1,18}})_[A-Za-z0-9_-]+)(?:\.(?P<dialect>{'|'.join(DIALECTS)}))?\.sql"
)
_CANDIDATE = re.compile(r"\d.*|.*\.sql", re.IGNORECASE)  # other files, such as a README, are ignored


class MigrationError(ScalekitError):
    """The migrations of a directory cannot be applied."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; its *checksum* ignores the kind of line ends. Without *in_transaction* it has one statement."""

    number: int
    name: str
    path: Path
    text: str
    checksum: str
    in_transaction: bool = True


def uses_alembic(migrations: str) -> bool:
    """Return whether *migrations* names a configuration of Alembic, alembic.ini or pyproject.toml."""
    return migrations.endswith(ALEMBIC_SUFFIXES)


def require_alembic(dialect: str) -> None:
    """Raise StartError when Alembic is not installed, and for MySQL, where it is not supported yet."""
    if dialect == "mysql":
        raise StartError("migrations: Alembic needs PostgreSQL or SQLite here; use numbered SQL files on MySQL")
    if find_spec("alembic") is None:
        raise StartError("migrations of Alembic need it: pip install 'scalekit-asgi[alembic]'")


def migrations_folder(text: str) -> Path:
    """Return the folder that *text* names: a path, or ``package:folder`` for a folder inside a package.

    Raise MigrationError when the package is not installed.
    """
    package, separator, folder = text.partition(":")
    if not separator:
        return Path(text)
    try:
        return Path(str(files(package))) / folder
    except ModuleNotFoundError:
        raise MigrationError(f"migrations: package {package!r} of {text!r} is not installed") from None


def read_migrations(directory: str | Path, dialect: str) -> list[Migration]:
    """Return the migrations for *dialect* by number; raise MigrationError for an invalid file."""
    folder = Path(directory)
    try:
        paths = sorted(path for path in folder.iterdir() if _CANDIDATE.fullmatch(path.name))
    except OSError as error:
        raise MigrationError(
            f"{folder}: {error.strerror}: create the folder, or set migrations in [plugins.pool]"
        ) from error
    migrations: dict[int, Migration] = {}
    for path in paths:
        migration = _read(path, dialect)
        if migration is not None:
            other = migrations.setdefault(migration.number, migration)
            if other is not migration:
                raise MigrationError(
                    f"{path}: number {migration.number} is also used by {other.path.name}: rename one of them"
                )
    if not migrations:
        raise MigrationError(f"{folder}: no migrations for {dialect}: add a file, like 0001_create_users.sql")
    return [migrations[number] for number in sorted(migrations)]


def _read(path: Path, dialect: str) -> Migration | None:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise MigrationError(
            f"{path}: not a migration file name: name it like 0001_create_users.sql or "
            f"0001_create_users.sqlite.sql ({', '.join(DIALECTS)}), or move it elsewhere"
        )
    if match["dialect"] not in (None, dialect):
        return None
    text = _text(path)
    alone = is_outside_transaction(text)
    if problem := find_unsupported(text, dialect) or (find_second_statement(text, dialect) if alone else None):
        line, remedy = problem
        raise MigrationError(f"{path}:{line}: {remedy}")
    checksum = sha256(text.encode()).hexdigest()
    return Migration(int(match["number"]), match["name"], path, text, checksum, not alone)


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MigrationError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except OSError as error:
        raise MigrationError(
            f"{path}: cannot be read: {error.strerror}: fix its permissions, or move it elsewhere"
        ) from error
    if "\0" in text:
        raise MigrationError(f"{path}: contains a NUL character: save it as text in UTF-8")
    return text
