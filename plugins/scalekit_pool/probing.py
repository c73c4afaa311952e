"""Ask the database whether it is well, without standing in anybody's way."""

from __future__ import annotations

from scalekit.contracts import Database
from scalekit_pool.database import Database as PooledDatabase


async def probe(database: Database) -> None:
    """Return when *database* takes writes, or so many use it that there is no doubt; raises saying what is wrong.

    That it answers is not enough: a primary that became a standby answers too.
    """
    if isinstance(database, PooledDatabase):
        pool = database.driver.writers
        if pool.supply.trouble:
            raise ConnectionError(pool.supply.trouble)
        if pool.supply.size == pool.limits.max_size and not pool.idle:
            return
    if database.dialect != "postgresql":
        await database.fetch_val("SELECT 1")
    elif await database.fetch_val("SELECT pg_is_in_recovery()"):
        raise ConnectionError("the server is a standby and takes no writes")


def refuse_stale_servers(database: Database) -> None:
    """Raise saying which servers of *database* claim to be its primary and are not."""
    if isinstance(database, PooledDatabase) and database.driver.report:
        raise ConnectionError(database.driver.report)
