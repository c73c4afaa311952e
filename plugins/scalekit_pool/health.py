"""Health checks: whether the database takes writes, and whether any server is a stale primary."""

from __future__ import annotations

from scalekit.contracts import Database
from scalekit_pool.connections.driver import Failure
from scalekit_pool.database import PooledDatabase


async def check_database(database: Database) -> None:
    """Raise ConnectionError, naming the reason, when *database* takes no writes.

    A response alone proves nothing: a primary that became a standby responds too, and so does one with a full disk.
    """
    if isinstance(database, PooledDatabase):
        await check_writes(database)
    else:
        await database.fetch_val("SELECT 1")


async def check_writes(database: PooledDatabase) -> None:
    """Raise ConnectionError, naming the reason, when *database* takes no writes.

    While every connection is in use and no write has failed, return without waiting for a connection.
    """
    driver = database.driver
    pool = driver.writers
    if pool.supplier.last_error:
        raise ConnectionError(pool.supplier.last_error)
    if driver.write_doubt is None and pool.supplier.size == pool.limits.max_size and not pool.idle:
        return
    async with database.detached_session(pool) as session:
        refusal = await session.command(lambda driver, raw: driver.write_refusal(raw, driver.write_doubt))
    if refusal is None:
        driver.write_doubt = None
        return
    driver.write_doubt = driver.write_doubt or Failure.DEMOTED
    if refusal.another_may_write:
        driver.readers.invalidate_demoted()
        driver.writers.invalidate_demoted()
    raise ConnectionError(refusal.reason)


def check_servers(database: Database) -> None:
    """Raise ConnectionError, naming the servers of *database* that are primaries of an old timeline."""
    if isinstance(database, PooledDatabase) and database.driver.server_problems:
        raise ConnectionError(database.driver.server_problems)
