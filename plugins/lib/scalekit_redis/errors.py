"""Errors that Redis commands raise."""

from __future__ import annotations

from typing import Literal

from scalekit import ScalekitError, Unavailable

FailureKind = Literal["timeout", "disconnected", "unavailable", "full", "refused", "unacknowledged", "closed"]

NOT_EXECUTED = frozenset(("LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "BUSY", "TRYAGAIN"))
"""Error codes of commands that the server did not execute in its current state: they can be sent again."""
TRANSIENT = NOT_EXECUTED | {"OOM", "MISCONF", "NOREPLICAS"}
"""Error codes that describe the state of the server, not a fault of the command."""


class RedisUnavailable(Unavailable):
    """Redis is unavailable, overloaded, rejects commands, or did not reply in time.

    *kind* is ``timeout`` (no reply within the timeout), ``disconnected`` (the connection was lost before the reply),
    ``unavailable`` (no connection), ``full`` (too many commands in flight), ``refused`` (the server rejects commands in
    its current state), ``unacknowledged`` (too few replicas have the write) or ``closed`` (the client was closed).
    After ``timeout`` and ``disconnected`` the command may have been executed, after ``unacknowledged`` it was.
    """

    def __init__(self, reason: str, kind: FailureKind) -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind


class ReplyError(ScalekitError):
    """An error reply of the server."""

    @property
    def code(self) -> str:
        """The first word of the error, such as ``WRONGTYPE``."""
        return str(self).partition(" ")[0]


def to_caller_error(error: ReplyError) -> ReplyError | RedisUnavailable:
    """Return the exception for the caller: RedisUnavailable where *error* describes the state of the server."""
    if error.code in ("MOVED", "ASK"):
        reason = f"too many redirects ({error}); the URL of a cluster begins with redis-cluster://"
        return RedisUnavailable(reason, "refused")
    if error.code in TRANSIENT:
        return RedisUnavailable(f"redis rejects the command: {error}", "refused")
    return error


def value_or_error(reply: object) -> object:
    """Return *reply*, converted as :func:`to_caller_error` does when it is an error."""
    return to_caller_error(reply) if isinstance(reply, ReplyError) else reply
