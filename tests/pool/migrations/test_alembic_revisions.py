from __future__ import annotations

import pytest

from scalekit_pool.migrations.files import MigrationError
from tests.pool.migrations.alembic_project import ADA, USERS, AlembicProject
from tests.pool.migrations.harness import MigratedDatabase

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(target: MigratedDatabase) -> AlembicProject:
    return AlembicProject(target)


async def test_revisions_are_applied_in_order_and_once(project: AlembicProject) -> None:
    assert await project.upgrade() == []
    project.revision("r1", USERS)
    project.revision("r2", ADA)
    assert (await project.read()).pending == ["r1", "r2"]
    assert await project.upgrade() == ["r1", "r2"]
    assert await project.upgrade() == []
    assert await project.target.rows("SELECT * FROM users") == [(1, "Ada")]
    assert await project.target.rows("SELECT * FROM alembic_version") == [("r2",)]
    project.revision("r3", ADA.replace("1", "2"))
    status = await project.status()
    assert (status.applied, status.pending, status.error) == ([("r2", None), ("r1", None)], ["r3"], "")


async def test_a_failed_revision_is_named_with_its_line_and_without_values(project: AlembicProject) -> None:
    project.revision("r1", f"{USERS}; {ADA}")
    insert = "op.bulk_insert(sa.table('users', sa.column('id'), sa.column('name')), [{'id': 1, 'name': 'secret'}])"
    path = project.revision("r2", insert)
    with pytest.raises(MigrationError) as caught:
        await project.upgrade()
    message = str(caught.value)
    assert message.startswith(f"{path}:8: ")
    assert message.endswith("; fix it and migrate again")
    assert "unique" in message.lower()
    assert "secret" not in message
    assert "(1)" not in message


async def test_a_database_migrated_by_a_newer_release_is_accepted(project: AlembicProject) -> None:
    project.revision("r1", USERS)
    newer = project.revision("r2", ADA)
    await project.upgrade()
    newer.unlink()
    assert await project.upgrade() == []
    status = await project.status()
    assert (status.pending, status.error) == ([], "applied by a newer release: r2")


async def test_several_heads_are_refused(project: AlembicProject) -> None:
    project.revision("r1", USERS)
    project.revision("r2", "pass")
    project.last = "r1"
    project.revision("r3", "pass")
    with pytest.raises(MigrationError, match="alembic: Multiple head revisions are present"):
        await project.upgrade()
