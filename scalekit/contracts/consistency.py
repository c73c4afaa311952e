"""What one client has written, so that it reads it back wherever it reads.

The pool notes that something was written; the replica plugin records the position and returns it to the client. A
message or a call on behalf of a request carries it along. Without replicas CONSISTENCY is not set.
"""

from __future__ import annotations

from contextvars import ContextVar


class Consistency:
    """What the client of one request, or the cause of one message, has written until now.

    *position* is in bytes of the primary's write-ahead log, 0 where none is known; *until*, in seconds since the epoch,
    is how long reads go to the primary where no position tells. *wrote* is set by each write that may have come to
    last and was not yet given a position, and *pending* is how many transactions that wrote are still open.
    """

    __slots__ = ("pending", "position", "until", "wrote")

    def __init__(self, position: int = 0, until: float = 0.0) -> None:
        self.position = position
        self.until = until
        self.wrote = False
        self.pending = 0


CONSISTENCY: ContextVar[Consistency | None] = ContextVar("scalekit.contracts.consistency", default=None)
"""The consistency of what is served here and now."""

CONSISTENCY_HEADER = b"scalekit-consistency"
"""The header in which a signed token of it travels, in lower case."""
