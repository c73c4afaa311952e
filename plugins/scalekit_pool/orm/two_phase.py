"""Two-phase commit of sessions on PostgreSQL, with the methods that SQLAlchemy's dialects have for it."""

from __future__ import annotations

from sqlalchemy import Connection, text

from scalekit_pool.connections.driver import Driver, RawConnection, RolledBack
from scalekit_pool.orm.dbapi import DbapiConnection
from scalekit_pool.orm.dialect import PooledDialect
from scalekit_pool.orm.execution import SERVER_OPTION

_PREPARED = text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")


class TwoPhaseDialect(PooledDialect):
    """Prepares transactions, and ends them on their connection or, to recover, on any."""

    def do_begin_twophase(self, connection: Connection, xid: str) -> None:
        """Begin."""
        dbapi = _dbapi(connection)
        dbapi.wait(dbapi.begin)

    def do_prepare_twophase(self, connection: Connection, xid: str) -> None:
        """Prepare the transaction as *xid*; raise RolledBack when a statement in it had failed."""
        dbapi = _dbapi(connection)
        dbapi.wait(_prepare, dbapi, _literal(xid))

    def do_commit_twophase(
        self, connection: Connection, xid: str, is_prepared: bool = True, recover: bool = False
    ) -> None:
        """Commit; with *recover*, the transaction *xid* that another connection has prepared."""
        dbapi = _dbapi(connection)
        dbapi.commit() if not recover else dbapi.wait(_recover, dbapi, f"COMMIT PREPARED {_literal(xid)}")

    def do_rollback_twophase(
        self, connection: Connection, xid: str, is_prepared: bool = True, recover: bool = False
    ) -> None:
        """Roll back; with *recover*, the transaction *xid* that another connection has prepared."""
        dbapi = _dbapi(connection)
        dbapi.rollback() if not recover else dbapi.wait(_recover, dbapi, f"ROLLBACK PREPARED {_literal(xid)}")

    def do_recover_twophase(self, connection: Connection) -> list[str]:
        """Return the prepared transactions of the primary."""
        return [*connection.scalars(_PREPARED, execution_options={SERVER_OPTION: "primary"})]


async def _prepare(dbapi: DbapiConnection, identifier: str) -> None:
    async def prepare(driver: Driver, raw: RawConnection) -> None:
        command = "PREPARE TRANSACTION"
        if await raw.execute(f"{command} {identifier}", timeout=dbapi.driver.timeout) != command:
            raise RolledBack("the transaction was rolled back, because a statement in it failed")

    session = await dbapi.begin()
    await session.transactions[0].prepare(prepare, identifier)


async def _recover(dbapi: DbapiConnection, sql: str) -> None:
    """Run *sql*, which ends a prepared transaction that wrote tables unknown here."""
    async with dbapi.database.detached_session(dbapi.driver.writers) as session:
        session.writes.mark(in_transaction=False)
        session.writes.add(None)
        await session.control(lambda driver, raw: driver.run(raw, sql), sql.partition("'")[0].strip())


def _dbapi(connection: Connection) -> DbapiConnection:
    return connection.connection.dbapi_connection  # type: ignore[return-value] # our pool's


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
