"""Contract of the message queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from scalekit.context import Key
from scalekit.contracts.database import Statements
from scalekit.contracts.jobs import JobStatus, Then


class Queue(Protocol):
    """Publishes durable messages: a message is stored by the broker when the call returns.

    A body is a pydantic model or JSON-compatible. *key* becomes the message's id, so that a message published twice has
    its effect once when its consumer dedupes. *delay* and *timeout* are in seconds or durations such as ``"5m"``.
    Messages with a higher *priority*, from 0 to 9, are delivered first. With *unique_for*, a duration, nothing is
    published while a message of the same name and *key* (without one, with the same body) that was published within
    that time is queued, running or waiting for a retry: its id is returned. Messages *then* are published one after the
    other, each once the handler of the one before has succeeded; the ids end in ``.1``, ``.2`` and so on.
    Methods raise ValueError for an invalid name or body.
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
        priority: int = 0,
        unique_for: str | float | None = None,
        then: Then | Sequence[Then] = (),
    ) -> str:
        """Publish a message and return its id once confirmed; raises PublishFailed when *timeout* passes before.

        *unique_for* raises RuntimeError without a store of jobs.
        """
        ...

    async def publish_many(
        self,
        name: str,
        bodies: Iterable[Any],
        *,
        delay: str | float | None = None,
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
        priority: int = 0,
        unique_for: str | float | None = None,
        then: Then | Sequence[Then] = (),
    ) -> list[str]:
        """Publish a message for each of *bodies* concurrently; return their ids once all are confirmed.

        With *unique_for*, a body of which a message is queued or running has the id of that message, as has one that
        occurs twice; with *then*, the messages follow each of them. Raises as `publish` does.
        """
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
        priority: int = 0,
        unique_for: str | float | None = None,
        then: Then | Sequence[Then] = (),
    ) -> str:
        """Store a message in the outbox, in the current transaction of *database*; return its id.

        The message is published soon after the commit, and never after a rollback. *unique_for* raises RuntimeError
        unless the queue is in the same database, or RabbitMQ.
        """
        ...

    async def publish_group(
        self,
        messages: Iterable[tuple[str, Any]],
        *,
        then: Then | Sequence[Then],
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> str:
        """Publish *messages*, pairs of name and body, and *then* once all of them have ended; return the id of *then*.

        What *then* gets as the result is ``{"succeeded": 8, "failed": 1, "cancelled": 0}``. The ids of the messages are
        the returned one with ``:1``, ``:2`` and so on. Raises PublishFailed when a message is not confirmed: others may
        have been published, *then* is not. Raises RuntimeError without a store of jobs.
        """
        ...

    async def status(self, message_id: str) -> JobStatus | None:
        """Return the status of a message whose consumer has ``result_ttl``; None for an unknown or an expired one.

        Whoever has the id may be shown the status only if the id is the one that `publish` has drawn, of 128 random
        bits; with a *key* the application must check to whom the message belongs. Raises RuntimeError without a store
        of statuses, and Unavailable (503) while it is unavailable.
        """
        ...

    async def cancel(self, message_id: str) -> bool:
        """Cancel a message whose consumer has ``result_ttl``; return False when it is unknown or has ended.

        A queued message is not handled any more, and a running handler is cancelled within a second. Raises as
        `status` does.
        """
        ...


QUEUE: Key[Queue] = Key("queue", plugin="queue")
"""The message queue, whose consumers run in this or other processes."""
