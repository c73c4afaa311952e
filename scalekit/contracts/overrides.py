"""Contract of overrides: what operators change in a running service for a limited time, the same in all workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from scalekit.context import Key


class Override(NamedTuple):
    """A value until *end*, in seconds of the monotonic clock."""

    value: str
    end: float


class OverrideChange(NamedTuple):
    """One change: *override* of *name*; None removes it. Without *name* and *override* all overrides are removed."""

    name: str | None
    override: Override | None


class OverrideGroup(Protocol):
    """The overrides of one subject by name, such as the levels of the log by logger."""

    @property
    def active(self) -> Mapping[str, Override]:
        """The overrides that have not ended, by name."""
        ...

    async def change(self, change: OverrideChange) -> None:
        """Apply *change* in all workers; raises TimeoutError when the supervisor does not respond."""
        ...

    def applied_with(
        self, apply: Callable[[Mapping[str, str]], None], on_end: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        """Call *apply* with all values by name inside the block: now, at each change and when an override ends.

        *on_end* is called with the name of an override that has ended by itself. Both are called on the event loop.
        """
        ...


class Overrides(Protocol):
    """The overrides of a service by group; they outlive a worker, and new workers have them before they start."""

    def group(self, name: str) -> OverrideGroup:
        """Return the group *name*, such as ``log level``."""
        ...


OVERRIDES: Key[Overrides] = Key("overrides")
"""Overrides of all subjects; the host provides them before plugins start."""
