"""The keys of messages that are unique while they are queued or running: claimed by publishers, released at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextvars import Context
from functools import partial
from hashlib import blake2b
from secrets import token_hex
from time import monotonic, time

from scalekit import Unavailable
from scalekit.contracts import PublishFailed, Statements
from scalekit_queue.envelope import UNIQUE, Envelope
from scalekit_queue.jobs import statements
from scalekit_queue.jobs.job import STATES
from scalekit_queue.jobs.store import Execute, JobDatabase, commit_apart
from scalekit_queue.metrics import ConsumeOutcome
from scalekit_queue.task_group import BackgroundTaskGroup

logger = logging.getLogger("scalekit.queue")

MAX_CLAIMS = 10
"""Attempts to claim a key whose claims are released between two statements."""
CONCURRENCY = 8
"""Keys of many messages that are claimed or released at a time."""
MAX_RELEASES = 1000
"""Keys that are released in the background, because it is unknown whether they are stored."""
CLOSE_TIMEOUT = 2.0
"""Seconds to wait for them at shutdown."""
CLEANUP_INTERVAL = 10.0
"""Seconds between two deletions of expired claims by a process that claims keys."""


class UniqueKeys:
    """The claims of the service with *prefix* in *database*, each of which is that of one message."""

    def __init__(self, database: JobDatabase, prefix: str) -> None:
        self._database = database
        self._prefix = prefix
        self._cleaned = 0.0
        self._releasing = BackgroundTaskGroup()

    async def claim(self, envelope: Envelope, key: str | None, ttl: float, timeout: float) -> str | None:
        """Claim *key*, by default a digest of the body, for *envelope*; return None, or the id that has the claim.

        The claim ends with the message, and after *ttl* seconds. Raises PublishFailed.
        """
        values = self._values(envelope, key, ttl)
        try:
            async with asyncio.timeout(timeout):
                return await commit_apart(self._database, self._claim_at_once(values))
        except asyncio.CancelledError:  # the claim may be committed
            self._release_later(envelope)
            raise
        except Exception as error:
            self._release_later(envelope)  # the claim may be committed, or may yet be
            reason = str(error) or "the store does not respond"
            raise PublishFailed(f"the unique key of the message cannot be stored: {reason}", False) from error

    async def claim_each(
        self, envelopes: Sequence[Envelope], key: str | None, ttl: float, timeout: float
    ) -> list[str | None]:
        """Claim the key of each of *envelopes* as `claim` does; return what it returns, in their order.

        Raises PublishFailed, and releases what it has claimed, unless all have been claimed within *timeout* seconds.
        """
        claimed: list[Envelope] = []

        async def claim(envelope: Envelope) -> str | None:
            other = await self.claim(envelope, key, ttl, timeout)
            if other is None:
                claimed.append(envelope)
            return other

        others: list[str | None] = []
        try:
            async with asyncio.timeout(timeout):
                for part in self._parts(envelopes):
                    if len(part) == 1:
                        others.append(await claim(part[0]))
                        continue
                    async with asyncio.TaskGroup() as group:
                        tasks = [group.create_task(claim(each)) for each in part]
                    others += [task.result() for task in tasks]
        except BaseExceptionGroup as errors:
            await self.release_each(claimed)
            raise errors.exceptions[0] from None
        except TimeoutError:
            await self.release_each(claimed)
            reason = f"{len(others)} of {len(envelopes)} unique keys were stored within {timeout:g}s"
            raise PublishFailed(reason, False) from None
        except BaseException:
            await self.release_each(claimed)
            raise
        return others

    async def claim_in(self, transaction: Statements, envelope: Envelope, key: str | None, ttl: float) -> str | None:
        """Claim *key* as `claim` does, in the current transaction of *transaction*."""
        if not self._database.is_transactional:
            raise RuntimeError(
                'unique_for in publish_after needs url = "database:" or RabbitMQ in [plugins.queue]; use publish'
            )
        return await self._claim(partial(self._database.fetch_in, transaction), self._values(envelope, key, ttl))

    async def release(self, envelope: Envelope) -> None:
        """Release the key that *envelope* has claimed; a claim of another message stays."""
        await self.release_each([envelope])

    async def release_each(self, envelopes: Sequence[Envelope]) -> None:
        """Release the keys of *envelopes*; while the store is unavailable the rest of them stay until they expire."""
        for part in self._parts(envelopes):
            if len(part) == 1:
                released = [await self._release(part[0])]
            else:
                released = await asyncio.gather(*(self._release(each) for each in part))
            if not all(released):
                return

    async def close(self) -> None:
        """Wait for keys that are being released."""
        await self._releasing.wait(CLOSE_TIMEOUT)
        await self._releasing.cancel()

    def _release_later(self, envelope: Envelope) -> None:
        if len(self._releasing) < MAX_RELEASES:
            # In no transaction of the publisher. The store has just failed, as the publisher is told.
            self._releasing.start(self._release(envelope, logging.DEBUG), Context())

    def _parts(self, envelopes: Sequence[Envelope]) -> Iterator[Sequence[Envelope]]:
        """Return parts of *envelopes* whose keys tasks claim or release at the same time."""
        # The database may be in a transaction of the current task, for which other tasks would wait.
        size = 1 if self._database.dialect == "sqlite" and self._database.is_transactional else CONCURRENCY
        return (envelopes[first : first + size] for first in range(0, len(envelopes), size))

    async def _release(self, envelope: Envelope, level: int = logging.WARNING) -> bool:
        digest, _, token = envelope.headers[UNIQUE].partition(".")
        values = {"prefix": self._prefix, "name": envelope.name, "digest": digest, "token": token}
        try:
            sql = statements.RELEASE_KEY.format(table=self._database.table)
            await commit_apart(self._database, self._database.fetch(sql, values))
        except Exception as error:
            reason = error or type(error).__name__
            logger.log(level, "the unique key of message %s stays until it expires: %s", envelope.id, reason)
            return False
        return True

    async def on_end(self, envelope: Envelope, outcome: ConsumeOutcome, seconds: float) -> None:
        """Release the key of a message that has ended."""
        if UNIQUE in envelope.headers and outcome in STATES:
            await self.release(envelope)

    async def _claim_at_once(self, values: Mapping[str, object]) -> str | None:
        if monotonic() - self._cleaned > CLEANUP_INTERVAL:
            self._cleaned = monotonic()
            sql = statements.DELETE_EXPIRED_KEYS.format(table=self._database.table)
            await self._database.fetch(sql, {"now": time()})
        return await self._claim(self._database.fetch, values)

    async def _claim(self, execute: Execute, values: Mapping[str, object]) -> str | None:
        table = self._database.table
        key = {name: values[name] for name in ("prefix", "name", "digest", "now")}
        for _ in range(MAX_CLAIMS):
            if await execute(statements.CLAIM_KEY.format(table=table), values):
                return None
            if rows := await execute(statements.READ_CLAIM.format(table=table), key):
                return str(rows[0][0])
        raise Unavailable("the key is claimed and released all the time")

    def _values(self, envelope: Envelope, key: str | None, ttl: float) -> dict[str, object]:
        source = b"body:" + envelope.body if key is None else b"key:" + key.encode()
        digest, token = blake2b(source, digest_size=16).hexdigest(), token_hex(8)
        envelope.headers = {**envelope.headers, UNIQUE: f"{digest}.{token}"}  # other messages may share the headers
        now = time()
        row = {"name": envelope.name, "digest": digest, "token": token, "id": envelope.id, "expires": now + ttl}
        return {"prefix": self._prefix, "now": now, **row}
