"""What a command ends with when it does not end well."""

from __future__ import annotations

from typing import Any, Literal

from scalekit import ScalekitError, Unavailable

Kind = Literal["late", "lost", "gone", "full", "refused", "closed"]

NOT_RUN = frozenset(("LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "BUSY", "TRYAGAIN"))
"""Codes of error replies that say that the server did not run the command, and soon may: it can be sent again."""
PASSING = NOT_RUN | {"OOM", "MISCONF", "NOREPLICAS"}
"""Codes of error replies that say how the server is, not what is wrong with the command."""


class RedisUnavailable(Unavailable):
    """Redis is gone, late, full or refuses for now.

    *kind* tells which: ``late`` (no reply within the deadline), ``lost`` (the connection ended before the reply),
    ``gone`` (there is no connection), ``full`` (too much waits already), ``refused`` (the server says so), ``closed``
    (nobody uses the connection any more). After ``late`` and ``lost`` the command may have been carried out.
    """

    def __init__(self, reason: str, kind: Kind) -> None:
        super().__init__(reason)
        self.kind: Kind = kind


class ReplyError(ScalekitError):
    """An error that the server replied; *code* is its first word, such as ``WRONGTYPE``."""

    @property
    def code(self) -> str:
        """The first word of the error."""
        return str(self).partition(" ")[0]


def explained(error: ReplyError) -> ReplyError | RedisUnavailable:
    """Return what a caller is told of *error*: that Redis is unavailable, where it says no more than that."""
    if error.code in ("MOVED", "ASK"):
        what = f"the command was sent on and on ({error}); the address of a cluster begins with redis-cluster://"
        return RedisUnavailable(what, "refused")
    if error.code in PASSING:
        return RedisUnavailable(f"redis refuses for now: {error}", "refused")
    return error


def value_or_error(reply: Any) -> Any:
    """Return *reply*, where it is an error as its caller is told of it."""
    return explained(reply) if isinstance(reply, ReplyError) else reply
