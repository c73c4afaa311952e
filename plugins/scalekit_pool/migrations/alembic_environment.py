"""Run Alembic's commands: its ``env.py`` finds the connection in ``config.attributes["connection"]``."""

from __future__ import annotations

import asyncio
import sysconfig
import traceback
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from scalekit_pool.connections.driver import RawConnection
from scalekit_pool.migrations.alembic_connection import URLS, alembic_connection
from scalekit_pool.migrations.files import MigrationError, migrations_folder
from scalekit_pool.migrations.runner import SERVER_TIMEOUT_SLACK

T = TypeVar("T")

INTERRUPT_INTERVAL = 0.05
"""Seconds between two attempts to interrupt a statement."""

_NOT_USED = (
    "env.py does not use the connection of scalekit: let it take config.attributes['connection'], "
    "as the env.py that `scalekit pool alembic init` makes"
)

_REMEDY = "fix it and migrate again"
_CODE_ERRORS = (SyntaxError, ImportError, AttributeError, NameError, TypeError)
"""Mistakes in the code of a revision, or of ``env.py``; no message of theirs contains a value of a row."""

_LIBRARIES = tuple(
    {*(sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")), str(Path(__file__).parent)}
)


def read_config(text: str) -> Config:
    """Return the configuration in *text*: the path of alembic.ini or pyproject.toml, or ``package:alembic.ini``.

    It names no file, so that an ``env.py`` does not configure logging, which the service has done.
    """
    path = migrations_folder(text)
    if not path.is_file():
        raise MigrationError(
            f"{path}: no such file: run `scalekit pool alembic init`, or set migrations in [plugins.pool]"
        )
    config = Config(toml_file=path) if path.suffix == ".toml" else Config(path)
    config.set_main_option("sqlalchemy.url", "")  # reads the file
    config.config_file_name = None
    return config


class AlembicSession:
    """Runs Alembic's commands on *raw_connection*; *limit* is the number of seconds that a statement may take."""

    def __init__(self, dialect: str, raw_connection: RawConnection, limit: float) -> None:
        self._dialect = dialect
        self._raw_connection = raw_connection
        self._limit = limit

    async def run(self, config: Config, work: Callable[[Config], T], *, exclusive: bool) -> T:
        """Return the result of *work*, if *exclusive* under the migration lock.

        Raise MigrationError, which names the line of the migration and no values, when that fails.
        """
        async with alembic_connection(
            self._dialect, self._raw_connection, self._limit, exclusive=exclusive
        ) as connection:
            # The server cancels the statement itself, with an error that names it.
            slack = SERVER_TIMEOUT_SLACK if self._dialect == "postgresql" else 0.0
            watch = _StatementWatch(self._limit + slack)
            event.listen(connection.sync_connection, "before_cursor_execute", watch.restart)
            task = asyncio.create_task(connection.run_sync(_run, config, work, watch), name="scalekit: alembic")
            try:
                while not task.done() and watch.remaining > 0:
                    await asyncio.wait([task], timeout=watch.remaining)
            finally:
                watch.is_stopped = not task.done()
                await self._stop(task)
            return task.result()

    async def _stop(self, task: asyncio.Task[T]) -> None:
        """Interrupt the statement of *task*, and wait for its end."""
        while not task.done():
            if self._dialect == "sqlite":  # a cancelled task would wait for the end of the statement
                await self._raw_connection.interrupt()
            else:
                task.cancel()
            await asyncio.wait([task], timeout=INTERRUPT_INTERVAL)
        if not task.cancelled():
            task.exception()  # else asyncio reports one that a cancelled caller does not see


class _StatementWatch:
    """Counts statements, and the time that is left for the current one."""

    def __init__(self, limit: float) -> None:
        self.statements = 0
        self.is_stopped = False
        self._limit = limit
        self._expires_at = monotonic() + limit

    @property
    def remaining(self) -> float:
        """Seconds until the statement is interrupted."""
        return self._expires_at - monotonic()

    def restart(self, *_: object) -> None:
        """Start the time of a statement; raise MigrationError after the previous one was interrupted."""
        if self.is_stopped:
            raise MigrationError("the migration was interrupted")
        self.statements += 1
        self._expires_at = monotonic() + self._limit


def _run(connection: Connection, config: Config, work: Callable[[Config], T], watch: _StatementWatch) -> T:
    config.attributes["connection"] = connection
    config.set_main_option("sqlalchemy.url", "")  # an env.py that ignores the connection fails
    try:
        result = translate_errors(lambda: work(config))
    except Exception as error:
        if not watch.statements and isinstance(error, SQLAlchemyError | RuntimeError):
            raise MigrationError(_NOT_USED) from error
        raise
    if not watch.statements:
        raise MigrationError(_NOT_USED)
    return result


def translate_errors(work: Callable[[], T]) -> T:
    """Return the result of *work*; raise MigrationError for errors of Alembic, the database and the revisions."""
    try:
        return work()
    except CommandError as error:
        raise MigrationError(f"alembic: {error}") from error
    except DBAPIError as error:
        raise MigrationError(f"{_place(error) or 'alembic'}: {_message(error)}; {_REMEDY}") from error
    except _CODE_ERRORS as error:
        if place := _place(error):
            raise MigrationError(f"{place}: {type(error).__name__}: {_text(error)}; {_REMEDY}") from error
        raise


def _place(error: Exception) -> str:
    """Return file and line of the migration that raised *error*: the innermost code that belongs to no library."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", *_LIBRARIES))]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


def _text(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _message(error: DBAPIError) -> str:
    cause = getattr(error.orig, "__cause__", None) or error.orig
    return str(getattr(cause, "message", "") or cause)  # without the detail, which may contain row values


def offline_sql(config: Config, dialect: str, revisions: str) -> str:
    """Return the SQL of *revisions*, such as ``base:head``, without a connection; raise MigrationError."""
    config.set_main_option("sqlalchemy.url", URLS[dialect])
    config.attributes.pop("connection", None)
    config.output_buffer = output = StringIO()
    translate_errors(lambda: command.upgrade(config, revisions, sql=True))
    return output.getvalue()
