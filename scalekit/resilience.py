"""What a plugin raises when what it needs is gone for the moment."""

from __future__ import annotations

from math import ceil

from starlette.exceptions import HTTPException

from scalekit.errors import ScalekitError

DETAIL = "what this needs is not available for now; try again later"


class Unavailable(ScalekitError, HTTPException):
    """Something outside is gone or full for now; try again after *retry_after* seconds.

    It is Starlette's HTTPException with the status 503, so that frameworks answer it so, with ``Retry-After``; where no
    framework does, the host does. *reason* may name servers, and is for the log; clients are told *detail*.
    """

    def __init__(self, reason: str, retry_after: float = 1.0, *, detail: str = DETAIL) -> None:
        seconds = max(1, ceil(retry_after))
        HTTPException.__init__(self, 503, detail, {"Retry-After": str(seconds)})
        self.reason = reason
        self.retry_after = seconds

    def __str__(self) -> str:
        return self.reason
