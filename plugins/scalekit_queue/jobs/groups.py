"""Groups: messages whose ends are counted, and the message that is published once all of them have ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic, time

import orjson

from scalekit import encode_json
from scalekit.contracts import PublishFailed
from scalekit_queue.envelope import GROUP, PRIORITY, THEN, Envelope
from scalekit_queue.jobs import statements
from scalekit_queue.jobs.chain import Chain
from scalekit_queue.jobs.job import STATES, UNFINISHED_TTL
from scalekit_queue.jobs.store import JobDatabase, Rows, commit_apart
from scalekit_queue.metrics import ConsumeOutcome

logger = logging.getLogger("scalekit.queue")

MAX_SIZE = 10_000
"""Messages of a group; each end counts those before."""
CLEANUP_INTERVAL = 10.0
"""Seconds between two deletions of expired groups by a process that publishes groups."""
RETRY_DELAY = 1.0
"""Seconds before the end of a message is counted again, after an error."""


class JobGroups:
    """The groups of the service with *prefix* in *database*."""

    def __init__(self, database: JobDatabase, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        self._cleaned = 0.0

    async def add(self, group: str, size: int, headers: Mapping[str, str], timeout: float) -> None:
        """Store a group of *size* messages, whose *headers* have the message that follows; raises PublishFailed."""
        values = {"size": size, "headers": orjson.dumps(headers).decode(), "expires": time() + UNFINISHED_TTL}
        try:
            async with asyncio.timeout(timeout):
                await commit_apart(self._database, self._add({"prefix": self._prefix, "id": group, **values}))
        except Exception as error:
            reason = str(error) or "the store does not respond"
            raise PublishFailed(f"the group cannot be stored: {reason}", False) from error

    async def withdraw(self, group: str) -> None:
        """Delete a group, so that nothing is published after it."""
        try:
            await commit_apart(self._database, self._fetch(statements.DELETE_GROUP, group))
        except Exception as error:
            logger.warning("group %s could not be deleted: %s", group, error or type(error).__name__)

    async def on_end(self, envelope: Envelope, outcome: ConsumeOutcome, seconds: float) -> None:
        """Count the end of a message of a group; waits while the store is unavailable."""
        if GROUP not in envelope.headers or outcome not in STATES:
            return
        while True:
            try:
                await self._count(envelope.headers[GROUP], envelope.id, STATES[outcome].value)
            except Exception as error:
                reason = error or type(error).__name__
                logger.warning("the end of message %s cannot be counted, will retry: %s", envelope.id, reason)
                await asyncio.sleep(RETRY_DELAY)
            else:
                return

    async def _add(self, values: Mapping[str, object]) -> None:
        if monotonic() - self._cleaned > CLEANUP_INTERVAL:
            self._cleaned = monotonic()
            for sql in (statements.DELETE_EXPIRED_GROUPS, statements.DELETE_EXPIRED_ENDS):
                await self._database.fetch(sql.format(table=self._database.table), {"now": time()})
        await self._database.fetch(statements.ADD_GROUP.format(table=self._database.table), values)

    async def _count(self, group: str, member: str, state: str) -> None:
        """Count the end of *member*; publish what follows the group when it is the last one."""
        await self._fetch(statements.END_MEMBER, group, member=member, state=state)
        # Two messages that end together may both find that all have ended: one of them deletes the group.
        for headers, size, succeeded, failed, cancelled in await self._fetch(statements.COUNT_ENDS, group):
            if succeeded + failed + cancelled == size:
                counts = {"succeeded": succeeded, "failed": failed, "cancelled": cancelled}
                completion = completion_of(group, orjson.loads(headers), counts)
                sql = statements.DELETE_GROUP.format(table=self._database.table)
                await self._database.fetch_and_publish(sql, {"prefix": self._prefix, "id": group}, completion)
                await self._fetch(statements.DELETE_ENDS, group)

    async def _fetch(self, sql: str, group: str, **values: object) -> Rows:
        sql = sql.format(table=self._database.table)
        return await self._database.fetch(sql, {"prefix": self._prefix, "id": group, **values})


def completion_of(group: str, headers: Mapping[str, str], counts: Mapping[str, int] | None = None) -> Envelope:
    """Return the message after *group*, which has its *headers*; its result is *counts*."""
    chain = Chain.of(Envelope("", group, b"", 0.0, dict(headers)))
    step = chain.steps[0]
    common = {name: value for name, value in headers.items() if name not in (THEN, PRIORITY)}
    if step.priority:
        common[PRIORITY] = str(step.priority)
    body = encode_json(chain.body_after(counts))
    delay = float(step.delay or 0.0)
    return Envelope(step.name, chain.next_id, body, time(), common | chain.headers_after(), delay=delay)
