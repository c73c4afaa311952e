"""Messages: what a handler receives, and the failure to publish one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from scalekit.context import Context
from scalekit.errors import Unavailable

Body = TypeVar("Body")


class PublishFailed(Unavailable):
    """The broker has not confirmed a message; *maybe_sent* is whether the broker may have it."""

    def __init__(self, reason: str, maybe_sent: bool) -> None:
        super().__init__(reason)
        self.maybe_sent = maybe_sent


@dataclass(frozen=True, slots=True)
class Message(Generic[Body]):
    """A delivered message; *attempt* starts at 1, *published* and *deadline* are in seconds since the epoch."""

    name: str
    id: str
    body: Body
    headers: Mapping[str, str]
    attempt: int
    published: float
    deadline: float | None
    context: Context
    reporter: Callable[[float, str], None] | None = field(default=None, repr=False)

    def progress(self, fraction: float, note: str = "") -> None:
        """Report that *fraction* of the work, from 0 to 1, is done; without ``result_ttl`` nothing is kept.

        It returns at once, also in a thread, and the status has the latest report within half a second. Raises
        ValueError for a number outside of 0 to 1.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"expected a fraction from 0 to 1, got {fraction!r}")
        if self.reporter is not None:
            self.reporter(float(fraction), note)
