"""A project with Alembic's revisions, beside the database of a test: ``alembic_project.py DIALECT ADDRESS INI``."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from os import listdir
from pathlib import Path

import scalekit_pool.migrations.files
from scalekit_pool.migrations.alembic_environment import AlembicSession
from scalekit_pool.migrations.alembic_revisions import AlembicMigrations, Revisions
from scalekit_pool.migrations.runner import MigrationStatus
from tests.pool.migrations.harness import MigratedDatabase, connected

LIMIT = 60.0
ENVIRONMENT = Path(scalekit_pool.migrations.files.__file__).with_name("env.template").read_text()
MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table, Text
metadata = MetaData()
users = Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text, nullable=False))
"""
REVISION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{name}", {parent!r}


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
"""
USERS = 'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))'
ADA = """op.execute("INSERT INTO users VALUES (1, 'Ada')")"""


@dataclass
class AlembicProject:
    """Revisions in the folder ``alembic_files`` of the database *target*."""

    target: MigratedDatabase

    def __post_init__(self) -> None:
        self.folder = self.target.directory.parent
        self.versions = self.folder / "alembic_files/versions"
        self.versions.mkdir(parents=True)
        self.ini = str(self.folder / "alembic.ini")
        self.configure("")
        self.environment(ENVIRONMENT)
        self.last: str | None = None

    def configure(self, more: str) -> None:
        ini = f"[alembic]\nscript_location = %(here)s/alembic_files\npath_separator = os\n{more}\n"
        Path(self.ini).write_text(ini)

    def environment(self, text: str) -> None:
        (self.folder / "alembic_files/env.py").write_text(text)

    def revision(self, name: str, upgrade: str, downgrade: str = "pass") -> Path:
        path = self.versions / f"{name}.py"
        path.write_text(REVISION.format(name=name, parent=self.last, upgrade=upgrade, downgrade=downgrade))
        self.last = name
        return path

    async def upgrade(self, limit: float = LIMIT) -> list[str]:
        return await upgrade(self.target.dialect, self.target.address, self.ini, limit)

    async def read(self) -> Revisions:
        async with connected(self.target.dialect, self.target.address, None) as raw:
            return await AlembicMigrations(AlembicSession(self.target.dialect, raw, LIMIT), self.ini).read()

    async def status(self) -> MigrationStatus:
        async with connected(self.target.dialect, self.target.address, None) as raw:
            return await AlembicMigrations(AlembicSession(self.target.dialect, raw, LIMIT), self.ini).status()

    async def until_it_migrates(self) -> None:
        """Wait until a revision, which creates a table before its endless statement, is in its transaction."""
        await self.target.until_it_runs()
        while self.target.dialect == "sqlite" and f"{Path(self.target.address).name}-journal" not in listdir(
            self.folder
        ):
            await asyncio.sleep(0.01)

    @property
    def process(self) -> list[str]:
        """The command line of a process that upgrades."""
        return [sys.executable, __file__, self.target.dialect, self.target.address, self.ini]


async def upgrade(dialect: str, address: str, ini: str, limit: float = LIMIT) -> list[str]:
    async with connected(dialect, address, None) as raw:
        return await AlembicMigrations(AlembicSession(dialect, raw, limit), ini).upgrade()


if __name__ == "__main__":
    DIALECT, ADDRESS, INI = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()  # processes that start together wait for each other
    print(*asyncio.run(upgrade(DIALECT, ADDRESS, INI)), sep="\n")
