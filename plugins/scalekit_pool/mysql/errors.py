"""The effect of MySQL's and MariaDB's errors on a connection."""

from __future__ import annotations

import re

from asyncmy import errors

from scalekit_pool.connections.driver import Failure

# Numbers of the servers' errors, and of 2000 to 2999 of the client's.
_LOST = (1053, 1077, 1078, 1079, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1927, 4031)
_LOST_BY_CLIENT = (2000, 2003, 2006, 2013, 2014, 2055)
_STALE = (1243, 1615)
"""A prepared statement that the server has forgotten, or could not prepare again."""
_FAILURES = {
    **dict.fromkeys(_LOST + _LOST_BY_CLIENT, Failure.DISCONNECTED),
    **dict.fromkeys(_STALE, Failure.SCHEMA_CHANGED),
    **dict.fromkeys((1317, 1969, 3024), Failure.TIMEOUT),
    **dict.fromkeys((3, 1021, 1026, 1114), Failure.UNWRITABLE),
    1205: Failure.LOCKED,
    1836: Failure.DEMOTED,
}
_ENGINE_ERROR = 1030
_DISK_FULL = "error 28"
_OPTION_PREVENTS = 1290
_READ_ONLY_OPTION = re.compile(r"read.only")
_READ_ONLY_TRANSACTION = 1792


def failure_of(error: BaseException, read_only: bool) -> Failure:
    """Return the failure that *error* means on a connection, which is *read_only* when its database is a replica."""
    if isinstance(error, TimeoutError):
        return Failure.TIMEOUT
    if isinstance(error, ConnectionError | errors.InterfaceError):
        return Failure.DISCONNECTED
    if not isinstance(error, errors.MySQLError):
        return Failure.UNKNOWN
    code, message = code_of(error), str(error.args[-1]) if error.args else ""
    if code == _READ_ONLY_TRANSACTION or (code == _OPTION_PREVENTS and _READ_ONLY_OPTION.search(message)):
        if read_only:
            return Failure.READ_ONLY
        return Failure.STATEMENT if code == _READ_ONLY_TRANSACTION else Failure.DEMOTED
    if code == _ENGINE_ERROR and _DISK_FULL in message:
        return Failure.UNWRITABLE
    if isinstance(error, errors.InternalError) and not code:  # asyncmy cannot read the response
        return Failure.DISCONNECTED
    return _FAILURES.get(code, Failure.STATEMENT)


def code_of(error: BaseException) -> int:
    """Return the number of *error*, which the server or asyncmy raised, or 0."""
    code = error.args[0] if isinstance(error, errors.MySQLError) and error.args else 0
    return code if isinstance(code, int) else 0
