"""Retry a statement when the connection has cached a schema that has changed since."""

from __future__ import annotations

from typing import Any

from scalekit_pool.compiler import BoundStatement
from scalekit_pool.driver import Driver, Failure
from scalekit_pool.query_api import Operation

SCHEMA_CHANGES = (Failure.SCHEMA_CHANGED, Failure.RESULT_CHANGED)
"""Failures after which the connection must reload the schema."""


async def run_with_schema_retry(
    driver: Driver, connection: Any, operation: Operation, bound: BoundStatement, in_transaction: bool
) -> Any:
    """Run *bound*; after a schema change run it again, unless it was executed or its transaction was rolled back."""
    statement = bound.statement
    try:
        return await operation(connection, statement.sql, bound.arguments)
    except Exception as error:
        failure = driver.classify_error(error, connection)
        if failure not in SCHEMA_CHANGES:
            raise
        await driver.reload_schema(connection)
        if in_transaction or (failure is Failure.RESULT_CHANGED and not statement.is_read_only):
            raise
    return await operation(connection, statement.sql, bound.arguments)
