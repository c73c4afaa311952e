"""Ask the database whether it is well, without standing in anybody's way."""

from __future__ import annotations

from scalekit.contracts import Database
from scalekit_pool.database import Database as PooledDatabase


async def probe(database: Database) -> None:
    """Return when *database* takes writes, or so many use it that there is no doubt; raises saying what is wrong.

    That it answers is not enough: a primary that became a standby answers too, and so does one whose disk is full.
    """
    if isinstance(database, PooledDatabase):
        await database.check_writes()
    else:
        await database.fetch_val("SELECT 1")


def refuse_stale_servers(database: Database) -> None:
    """Raise saying which servers of *database* claim to be its primary and are not."""
    if isinstance(database, PooledDatabase) and database.driver.report:
        raise ConnectionError(database.driver.report)
