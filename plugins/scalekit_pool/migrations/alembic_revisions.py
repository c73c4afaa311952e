"""Apply Alembic's revisions, and list the applied and pending ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from scalekit_pool.migrations.alembic_environment import AlembicSession, read_config, translate_errors
from scalekit_pool.migrations.files import MigrationError
from scalekit_pool.migrations.runner import MigrationStatus


@dataclass(frozen=True, slots=True)
class Revisions:
    """The *applied* revisions, newest first, and the *pending* ones in their order; *heads* are of the database.

    *unknown* are heads of a newer release, which has migrated the database already.
    """

    heads: tuple[str, ...]
    applied: Sequence[str]
    pending: Sequence[str]
    unknown: Sequence[str]


class AlembicMigrations:
    """The revisions of the configuration in *text*, applied and listed in *session*."""

    def __init__(self, session: AlembicSession, text: str) -> None:
        self._session = session
        self._text = text

    async def upgrade(self) -> list[str]:
        """Apply the pending revisions, as ``alembic upgrade head``, under the migration lock; return their names.

        A database that is ahead of the files is accepted, as for SQL migrations.
        """
        return await self._session.run(read_config(self._text), _upgrade, exclusive=True)

    async def read(self) -> Revisions:
        """Return the applied and pending revisions without applying them."""
        return await self._session.run(read_config(self._text), find_revisions, exclusive=False)

    async def status(self) -> MigrationStatus:
        """Return the applied and pending revisions; Alembic does not record when they were applied."""
        revisions = await self.read()
        ahead = f"applied by a newer release: {', '.join(revisions.unknown)}" if revisions.unknown else ""
        return MigrationStatus([(name, None) for name in revisions.applied], revisions.pending, ahead)


def load_revisions(text: str) -> None:
    """Load the configuration in *text* and its revisions, and compile ``env.py``, without a connection.

    Raise MigrationError for what would fail at a start.
    """

    def load() -> None:
        script = ScriptDirectory.from_config(read_config(text))
        environment = Path(script.env_py_location)
        compile(environment.read_bytes(), environment, "exec")
        deque(script.walk_revisions(), maxlen=0)

    try:
        translate_errors(load)
    except OSError as error:
        raise MigrationError(
            f"{error.filename}: cannot be read: {error.strerror}: fix it, or make a new environment with "
            "`scalekit pool alembic init`"
        ) from error


def _upgrade(config: Config) -> list[str]:
    before = find_revisions(config)
    if before.unknown:
        return []
    command.upgrade(config, "head")
    pending = find_revisions(config).pending
    return [name for name in before.pending if name not in pending]


def find_revisions(config: Config) -> Revisions:
    """Return the applied and pending revisions; ``env.py`` configures the table of versions."""
    script = ScriptDirectory.from_config(config)
    heads: tuple[str, ...] = ()

    def read_heads(_: object, context: MigrationContext) -> list[object]:
        nonlocal heads
        heads = context.get_current_heads()
        return []

    with EnvironmentContext(config, script, fn=read_heads, dont_mutate=True):
        script.run_env()
    # Else Alembic would take the transaction that has begun for one of its caller, and not commit.
    config.attributes["connection"].rollback()
    unknown = [head for head in heads if not _is_known(script, head)]
    known = tuple(head for head in heads if head not in unknown)
    applied = [_name(each) for each in script.iterate_revisions(known, "base")] if known else []
    every = [_name(each) for each in script.walk_revisions()]
    pending = [] if unknown else [name for name in reversed(every) if name not in applied]
    return Revisions(heads, applied, pending, unknown)


def _is_known(script: ScriptDirectory, revision: str) -> bool:
    try:
        return script.get_revision(revision) is not None
    except CommandError:
        return False


def _name(script: Script) -> str:
    return Path(script.path).stem
