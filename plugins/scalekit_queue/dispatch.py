"""Dispatch a message to its handler: decode the body, restore the context, deduplicate, apply the timeout."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import ClassVar

from pydantic import ValidationError

from scalekit import Context
from scalekit.contracts import Consumer, Message, Statements
from scalekit_queue.envelope import THEN, Envelope
from scalekit_queue.inbox import Inbox
from scalekit_queue.jobs.job import Job
from scalekit_queue.jobs.store import JobStore
from scalekit_queue.propagation import deadline_of, restored_context
from scalekit_queue.publisher import MessagePublisher
from scalekit_queue.spans import delivery_trace
from scalekit_queue.transport import MAX_DELIVERIES


class UnhandledMessage(Exception):
    """The message becomes a dead letter without a call of its handler; *reason* is the label of the metric."""

    reason: ClassVar[str]


class UndecodableMessage(UnhandledMessage):
    """The body does not validate against the type that the handler takes."""

    reason = "undecodable"


class UnsettledMessage(UnhandledMessage):
    """The message was delivered MAX_DELIVERIES times without being settled: it may crash its consumers."""

    reason = "unsettled"

    def __init__(self) -> None:
        super().__init__(f"delivered {MAX_DELIVERIES} times without being settled")


class HandlerCancelled(Exception):
    """The handler has raised CancelledError although nobody cancelled it, such as that of a task that it awaited."""


class HandlerExited(Exception):
    """The handler has raised SystemExit, which would end the process with all its requests and messages."""


class MessageDispatcher:
    """Calls the handler of *consumer*; with an *inbox* it skips messages that were already handled.

    *publisher* publishes the messages that follow, *jobs* stores results; with an inbox both in its transaction.
    """

    def __init__(
        self,
        consumer: Consumer,
        inbox: Inbox | None,
        context: Context,
        publisher: MessagePublisher,
        jobs: JobStore | None,
    ) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._context = context
        self._publisher = publisher
        self._jobs = jobs

    async def dispatch(self, envelope: Envelope, job: Job | None = None) -> bool:
        """Call the handler with the message of *envelope*; return False when it is a duplicate.

        *job* receives its progress and its result.

        Raises UndecodableMessage, TimeoutError, HandlerCancelled, HandlerExited, or the exception of the handler.
        """
        message = self._decode(envelope, job)
        with restored_context(envelope.headers, self._context), self._trace(envelope):
            async with asyncio.timeout(self._consumer.timeout):
                if self._inbox is None or not envelope.id:
                    await self._call(envelope, message, job, None)
                    return True
                async with self._inbox.transaction(envelope.id) as is_new:
                    if is_new:
                        await self._call(envelope, message, job, self._inbox.database)
                    return is_new

    async def refuse_unsettled(self, envelope: Envelope) -> None:
        """Raise UnsettledMessage, unless the inbox records that the message has been handled."""
        if self._inbox is None or not envelope.id or not await self._inbox.contains(envelope.id):
            raise UnsettledMessage

    async def _call(
        self, envelope: Envelope, message: Message[object], job: Job | None, transaction: Statements | None
    ) -> None:
        try:
            result = await self._consumer.handler(message)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise HandlerCancelled("the handler awaited something that was cancelled") from error
        except SystemExit as error:
            raise HandlerExited(f"the handler called sys.exit({error.code!r})") from error
        if job is not None:
            job.keep_result(result)
            if transaction is not None and job.result is not None:
                await self._store_result(transaction, job.key, job.result)
        if THEN in envelope.headers:
            await self._publisher.publish_successor(envelope, result, transaction)

    async def _store_result(self, transaction: Statements, key: tuple[str, str], result: str) -> None:
        """Store *result* before the end of the job, which a process that is killed after the commit does not record."""
        if self._jobs is not None and self._jobs.is_transactional:
            await self._jobs.write_result_in(transaction, *key, result)

    def _trace(self, envelope: Envelope) -> AbstractContextManager[None]:
        return delivery_trace(self._context, self._publisher.system, envelope)

    def _decode(self, envelope: Envelope, job: Job | None) -> Message[object]:
        try:
            body = self._consumer.body.validate_json(envelope.body)
        except ValidationError as error:
            raise UndecodableMessage(_describe(error)) from None
        return Message(
            envelope.name,
            envelope.id,
            body,
            envelope.headers,
            envelope.attempt,
            envelope.published,
            deadline_of(envelope.headers),
            self._context,
            None if job is None else job.report,
        )


def _describe(error: ValidationError) -> str:
    """Return the validation errors without the values, which may be secrets."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    places = (f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}" for problem in problems[:10])
    return "; ".join(places)
