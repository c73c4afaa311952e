"""The position of a client's last write, so that the client reads its own writes from any replica.

The pool records that a request writes; the replica plugin adds the position and returns it to the client. Messages and
calls of the request propagate it. Without replicas CONSISTENCY is not set.
"""

from __future__ import annotations

from contextvars import ContextVar


class Consistency:
    """The last write of the client of one request or message.

    *position* is an LSN in bytes, 0 when unknown. *until*, in seconds since the epoch, is the end of the time in which
    reads go to the primary when the position is unknown. *wrote* is true after a write that may be committed and has no
    position yet. *pending* is the number of open transactions that have written.
    """

    __slots__ = ("pending", "position", "until", "wrote")

    def __init__(self, position: int = 0, until: float = 0.0) -> None:
        self.position = position
        self.until = until
        self.wrote = False
        self.pending = 0


CONSISTENCY: ContextVar[Consistency | None] = ContextVar("scalekit.contracts.consistency", default=None)
"""The consistency of the current request or message."""

CONSISTENCY_HEADER = b"scalekit-consistency"
"""The lower-case name of the header with the consistency token."""
