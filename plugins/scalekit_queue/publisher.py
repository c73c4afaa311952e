"""The publisher that applications use: encode a body, add context headers, send it or store it in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scalekit import Context, new_request_id
from scalekit.contracts import JobStatus, PublishFailed, Statements, Then, to_seconds
from scalekit_queue.envelope import GROUP, Envelope
from scalekit_queue.jobs.chain import Chain, then_headers
from scalekit_queue.jobs.groups import MAX_SIZE, JobGroups, completion_of
from scalekit_queue.jobs.task_results import TaskResultStore
from scalekit_queue.jobs.tracker import JobTracker
from scalekit_queue.jobs.unique_keys import UniqueKeys
from scalekit_queue.message_encoder import MessageEncoder, message_headers, positive_seconds
from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.propagation import consistency_headers
from scalekit_queue.spans import PUBLISH_SPAN, STORE_SPAN, publishing
from scalekit_queue.transport import TransactionalStore, Transport

SUCCESSOR_TIMEOUT = 5.0
"""Seconds within which the message after another one must be confirmed; then the handler's attempt has failed."""


class JobStores(NamedTuple):
    """What the database of jobs holds: statuses, claims of unique messages, groups, and calls of Django's tasks."""

    jobs: JobTracker
    unique_keys: UniqueKeys
    groups: JobGroups
    task_results: TaskResultStore


class MessagePublisher:
    """Publishes through *transport*, or by *store*, such as the outbox, after a transaction commits.

    *stores* is None without a database for jobs.
    """

    def __init__(
        self,
        transport: Transport,
        store: TransactionalStore | None,
        max_body: int,
        metrics: PublishMetrics,
        context: Context,
        *,
        stores: JobStores | None,
    ) -> None:
        self._transport = transport
        self._store = store
        self._encoder = MessageEncoder(max_body)
        self._metrics = metrics
        self._context = context
        self._stores = stores
        self._jobs = None if stores is None else stores.jobs

    @property
    def system(self) -> str:
        """The name of the transport in spans, such as ``rabbitmq``."""
        return self._transport.system

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
        """Publish a message and return its id once it is confirmed."""
        limit = to_seconds("timeout", timeout)
        common = {**message_headers(headers, priority), **then_headers(then, key)}
        envelope = self._encoder.envelope(name, body, delay, key, common | await consistency_headers(self._context))
        if unique_for is not None:
            (identifier,) = await self._send_unique([envelope], key, positive_seconds("unique_for", unique_for), limit)
            return identifier
        await self._send(name, [envelope], limit)
        return envelope.id

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
        """Publish a message for each of *bodies*; return their ids once all are confirmed."""
        limit = to_seconds("timeout", timeout)
        common = {**message_headers(headers, priority), **then_headers(then, None)}
        common |= await consistency_headers(self._context)
        envelopes = [self._encoder.envelope(name, body, delay, None, common) for body in bodies]
        if unique_for is not None:
            return await self._send_unique(envelopes, None, positive_seconds("unique_for", unique_for), limit)
        if envelopes:
            await self._send(name, envelopes, limit)
        return [envelope.id for envelope in envelopes]

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
        """Store a message in the current transaction of *database*, so that it is delivered after the commit."""
        common = {**message_headers(headers, priority), **then_headers(then, key)}
        envelope = self._encoder.envelope(name, body, delay, key, common)
        if unique_for is not None:
            ttl = positive_seconds("unique_for", unique_for)
            if other := await self._required_stores().unique_keys.claim_in(database, envelope, key, ttl):
                return other
        await self._store_after(database, envelope)
        return envelope.id

    async def publish_group(
        self,
        messages: Iterable[tuple[str, Any]],
        *,
        then: Then | Sequence[Then],
        timeout: str | float = 5.0,
        headers: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> str:
        """Publish *messages*, and *then* once all of them have ended; return the id of the message *then*."""
        limit, group = to_seconds("timeout", timeout), new_request_id()
        common = {**message_headers(headers, priority), **await consistency_headers(self._context)}
        following = then_headers(then, None, first=0)
        members = [
            self._encoder.envelope(name, body, None, f"{group}:{number}", {**common, GROUP: group})
            for number, (name, body) in enumerate(messages, 1)
        ]
        if not following or not 1 <= len(members) <= MAX_SIZE:
            raise ValueError(f"a group has 1 to {MAX_SIZE} messages, and one that follows: then")
        groups = self._required_stores().groups
        await groups.add(group, len(members), common | following, limit)
        last = completion_of(group, following)
        try:
            await self._add_job(last, limit)
            for name in dict.fromkeys(each.name for each in members):
                await self._send(name, [each for each in members if each.name == name], limit)
        except BaseException:
            await groups.withdraw(group)
            await self._withdraw_job(last)
            raise
        return group

    async def publish_successor(self, envelope: Envelope, result: Any, transaction: Statements | None) -> None:
        """Publish the message that follows *envelope*, whose handler returned *result*; in *transaction* if given."""
        chain = Chain.of(envelope)
        step = chain.steps[0]
        headers = {**message_headers(None, step.priority), **chain.headers_after()}
        if transaction is None:
            headers |= await consistency_headers(self._context)
        following = self._encoder.envelope(step.name, chain.body_after(result), step.delay, chain.next_id, headers)
        if transaction is None:
            await self._send(following.name, [following], SUCCESSOR_TIMEOUT)
        else:
            await self._store_after(transaction, following)

    async def _add_job(self, envelope: Envelope, timeout: float) -> None:
        """Record that *envelope* is queued, which is published later, if its consumer has ``result_ttl``."""
        if self._jobs is not None and envelope.name in self._jobs:
            await self._jobs.add([envelope], timeout)

    async def _withdraw_job(self, envelope: Envelope) -> None:
        if self._jobs is not None and envelope.name in self._jobs:
            await self._jobs.withdraw([envelope])

    async def _store_after(self, database: Statements, envelope: Envelope) -> None:
        if self._store is None:
            raise RuntimeError("no outbox: turn on [plugins.pool] and set outbox = true in [plugins.queue]")
        with publishing(STORE_SPAN, self._transport.system, [envelope]):
            await self._store.store(database, envelope)
        if self._jobs is not None and envelope.name in self._jobs and self._jobs.store.is_transactional:
            await self._jobs.add_in(database, envelope)

    async def status(self, message_id: str) -> JobStatus | None:
        """Return the status of a message whose consumer has ``result_ttl``."""
        return await self._required_stores().jobs.status(message_id)

    async def cancel(self, message_id: str) -> bool:
        """Cancel a message whose consumer has ``result_ttl``; return whether it had not ended."""
        return await self._required_stores().jobs.cancel(message_id)

    def _required_stores(self) -> JobStores:
        if self._stores is None:
            raise RuntimeError("no store of jobs: turn on [plugins.pool] and set outbox = true in [plugins.queue]")
        return self._stores

    async def _send_unique(
        self, envelopes: Sequence[Envelope], key: str | None, ttl: float, timeout: float
    ) -> list[str]:
        """Send those of *envelopes* whose unique key no message has claimed; return for each the id that has it."""
        unique_keys = self._required_stores().unique_keys
        others = await unique_keys.claim_each(envelopes, key, ttl, timeout)
        claimed = [each for each, other in zip(envelopes, others, strict=True) if other is None]
        confirmed: set[str] = set()
        try:
            if claimed:
                await self._send(claimed[0].name, claimed, timeout, confirmed)
        except BaseException:  # also a cancellation: a claim without a message would hold back the next attempt
            await unique_keys.release_each([each for each in claimed if each.id not in confirmed])
            raise
        return [other or each.id for each, other in zip(envelopes, others, strict=True)]

    async def _send(
        self, name: str, envelopes: Sequence[Envelope], timeout: float, confirmed: set[str] | None = None
    ) -> None:
        """Send *envelopes*, and add the ids of those that are confirmed to *confirmed*; raises PublishFailed."""
        self._metrics.published(name, len(envelopes))
        with publishing(PUBLISH_SPAN, self._transport.system, envelopes):
            results = await send_with_jobs(self._transport, self._jobs, envelopes, timeout)
            failures = [failure for failure in results if failure is not None]
            self._metrics.confirmed(name, len(envelopes) - len(failures))
            for failure in failures:
                self._metrics.failed(name, failure.maybe_sent)
            if failures and confirmed is not None:
                confirmed.update(each.id for each, failure in zip(envelopes, results, strict=True) if failure is None)
            if failures:
                raise _combined(failures, len(envelopes))


async def send_with_jobs(
    transport: Transport, jobs: JobTracker | None, envelopes: Sequence[Envelope], timeout: float
) -> list[PublishFailed | None]:
    """Send *envelopes* after their jobs, if they have some, are stored; return the failures as `Transport.send`."""
    tracked = [] if not jobs else [each for each in envelopes if each.name in jobs]
    if jobs is None or not tracked:
        return await transport.send(envelopes, timeout)
    try:
        await jobs.add(tracked, timeout)
    except PublishFailed as failure:
        return [failure] * len(envelopes)
    results = await transport.send(envelopes, timeout)
    unsent = [each for each, failure in zip(envelopes, results, strict=True) if failure and not failure.maybe_sent]
    await jobs.withdraw(each for each in unsent if each.name in jobs)
    return results


def _combined(failures: Sequence[PublishFailed], count: int) -> PublishFailed:
    if count == 1:
        return failures[0]
    maybe = any(failure.maybe_sent for failure in failures)
    return PublishFailed(f"{len(failures)} of {count} messages: {failures[0].reason}", maybe)
