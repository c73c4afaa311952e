from __future__ import annotations

import asyncio

import pytest
from asyncmy import errors

from scalekit_pool.connections.driver import Failure
from scalekit_pool.mysql.errors import failure_of

READ_ONLY = "The MariaDB server is running with the --read-only option so it cannot execute this statement"


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (errors.OperationalError(2013, "Lost connection"), Failure.DISCONNECTED),
        (errors.OperationalError(1927, "Connection was killed"), Failure.DISCONNECTED),
        (errors.InterfaceError(0, "Not connected"), Failure.DISCONNECTED),
        (errors.InternalError("Packet sequence number wrong - got 2 expected 1"), Failure.DISCONNECTED),
        (ConnectionResetError(), Failure.DISCONNECTED),
        (errors.OperationalError(1969, "max_statement_time exceeded"), Failure.TIMEOUT),
        (errors.OperationalError(3024, "maximum statement execution time exceeded"), Failure.TIMEOUT),
        (TimeoutError(), Failure.TIMEOUT),
        (errors.OperationalError(1205, "Lock wait timeout exceeded"), Failure.LOCKED),
        (errors.OperationalError(1213, "Deadlock found"), Failure.STATEMENT),
        (errors.OperationalError(1290, READ_ONLY), Failure.DEMOTED),
        (errors.OperationalError(1290, "running with the --secure-file-priv option"), Failure.STATEMENT),
        (errors.OperationalError(1792, "Cannot execute statement in a READ ONLY transaction"), Failure.STATEMENT),
        (errors.OperationalError(1114, "The table 'items' is full"), Failure.UNWRITABLE),
        (
            errors.OperationalError(1030, "Got error 28 'No space left on device' from storage engine"),
            Failure.UNWRITABLE,
        ),
        (errors.OperationalError(1030, "Got error 168 from storage engine"), Failure.STATEMENT),
        (errors.OperationalError(1243, "Unknown prepared statement handler"), Failure.SCHEMA_CHANGED),
        (errors.IntegrityError(1062, "Duplicate entry"), Failure.STATEMENT),
        (errors.DataError("a list is no value"), Failure.STATEMENT),
        (asyncio.CancelledError(), Failure.UNKNOWN),
        (KeyError(), Failure.UNKNOWN),
    ],
)
def test_the_failure_of_an_error(error: BaseException, failure: Failure) -> None:
    assert failure_of(error, read_only=False) is failure


@pytest.mark.parametrize(
    "error", [errors.OperationalError(1290, READ_ONLY), errors.OperationalError(1792, "READ ONLY")]
)
def test_a_replica_that_refuses_a_write_is_not_demoted(error: Exception) -> None:
    assert failure_of(error, read_only=True) is Failure.READ_ONLY
