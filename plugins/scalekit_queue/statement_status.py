"""Whether statements of one kind succeed: the current error, which is logged once."""

from __future__ import annotations

import logging

logger = logging.getLogger("scalekit.queue")


class StatementStatus:
    """The error of the latest statement that *action* describes, empty after one that succeeded."""

    def __init__(self, action: str) -> None:
        self._action = action
        self.last_error = ""

    def succeeded(self) -> None:
        """End the error: a statement has succeeded, or none is waiting any more."""
        self.last_error = ""

    def failed(self, error: Exception) -> None:
        """Record *error*, and log it unless it is the current one."""
        reason = f"the queue's database does not {self._action}: {error or type(error).__name__}"
        if reason != self.last_error:
            logger.warning("%s; retrying", reason)
        self.last_error = reason
