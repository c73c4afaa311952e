"""Run a statement once more where the connection remembered a schema that has changed since."""

from __future__ import annotations

from typing import Any

from scalekit_pool.compiler import Call
from scalekit_pool.driver import Driver, Failure
from scalekit_pool.query_api import Operation

STALE = (Failure.OUTDATED, Failure.MISREAD)
"""After these the connection has to forget what it remembers."""


async def run_repeatably(
    driver: Driver, connection: Any, operation: Operation, call: Call, in_transaction: bool
) -> Any:
    """Run *call*; what met a changed schema is run again, unless a transaction is lost with that or it was done."""
    statement = call.statement
    try:
        return await operation(connection, statement.sql, call.arguments)
    except Exception as error:
        failure = driver.failure(error, connection)
        if failure not in STALE:
            raise
        await driver.forget_schema(connection)
        if in_transaction or (failure is Failure.MISREAD and not statement.reads):
            raise
    return await operation(connection, statement.sql, call.arguments)
