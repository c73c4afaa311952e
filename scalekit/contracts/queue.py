"""Messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from scalekit.context import Key
from scalekit.contracts.database import Statements


class Queue(Protocol):
    """Sends messages that are not lost once a call has returned.

    A body is a pydantic model or what JSON can hold. *key* becomes the message's id, so that what is published twice
    under one key has its effect once where the consumer dedupes. *delay* and *timeout* are in seconds or durations such
    as ``"5m"``. Raises ValueError for what cannot be a message.
    """

    async def publish(
        self,
        name: str,
        body: Any,
        *,
        delay: str | float | None = None,
        key: str | None = None,
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Publish a message and return its id once it is safe; raises PublishFailed when it is not within *timeout*."""
        ...

    async def publish_many(
        self,
        name: str,
        bodies: Iterable[Any],
        *,
        delay: str | float | None = None,
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Publish a message for each of *bodies*, all on their way at once; return their ids once all are safe."""
        ...

    async def publish_after(
        self,
        database: Statements,
        name: str,
        body: Any,
        *,
        delay: str | float | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Store a message in the transaction of *database* that the task is in; return its id.

        It is published soon after that is committed, and never when it is rolled back.
        """
        ...


QUEUE: Key[Queue] = Key("queue", plugin="queue")
"""Messages to consumers, here or in other processes."""
