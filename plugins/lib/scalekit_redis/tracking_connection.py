"""One connection on which a server reports changed keys (CLIENT TRACKING, broadcast by prefix)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scalekit_redis.commands import Reply
from scalekit_redis.node import Node
from scalekit_redis.push_connection import LivenessProbe, PushConnection


def tracking_command(prefixes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the command that tracks keys that begin with one of *prefixes*."""
    options = [each for prefix in prefixes for each in (b"PREFIX", prefix)]
    return (b"CLIENT", b"TRACKING", b"ON", b"BCAST", *options)


class TrackingConnection(PushConnection):
    """A tracking connection to *node*; ``active`` while every change is reported.

    The packed command *setup* starts the reports. *on_state* is called when ``active`` changes, and *on_keys* with
    changed keys or with None for all of them.
    """

    FEATURE = "client tracking"
    REASON = "tracking"

    def __init__(
        self,
        node: Node,
        setup: bytes,
        probe_command: LivenessProbe,
        *,
        on_state: Callable[[], None],
        on_keys: Callable[[list[bytes] | None], None],
        on_change: Callable[[PushConnection], None],
    ) -> None:
        self._setup = setup
        self._on_state = on_state
        self._on_keys = on_keys
        super().__init__(node, probe_command, on_change)

    async def close(self) -> None:
        """Close the connection without a callback."""
        self._on_state = _ignore
        await super().close()

    async def set_up(self) -> None:
        """Start the reports."""
        await self.request(self._setup)

    def on_active(self) -> None:
        """Report that ``active`` has changed."""
        self._on_state()

    def on_push(self, push: list[Reply]) -> None:
        """Report changed keys."""
        if push[0] == b"invalidate":
            self._on_keys(push[1])


def _ignore() -> None:
    """Do nothing."""
