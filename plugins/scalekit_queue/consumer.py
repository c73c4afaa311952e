"""Run one consumer: dispatch deliveries concurrently, then acknowledge, retry with backoff, or dead-letter each."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, time

from scalekit import format_traceback
from scalekit.contracts import Consumer, Limits
from scalekit_queue.dispatch import MessageDispatcher, UnhandledMessage
from scalekit_queue.envelope import ATTEMPT, FIRST_FAILED, LAST_FAILED, REASON, STACK, Envelope, storable_text
from scalekit_queue.jobs.job import Job
from scalekit_queue.jobs.tracker import JobTracker
from scalekit_queue.metrics import ConsumeOutcome, ConsumerMetrics
from scalekit_queue.start_rate import StartRate
from scalekit_queue.task_group import BackgroundTaskGroup
from scalekit_queue.transport import PendingDelivery, SettlementFailed

logger = logging.getLogger("scalekit.queue")

MAX_REASON_LENGTH = 1000
MAX_STACK_LENGTH = 8000
"""Characters of a stack trace that a dead letter stores: its end, where the error is."""


OnEnd = Callable[[Envelope, ConsumeOutcome, float], Awaitable[None]]
"""Called with a message before it is settled, the outcome, and the duration of the handler in seconds."""


class ConsumerRunner:
    """Runs the handler of *consumer* for every delivery, at most ``concurrency`` at a time.

    *jobs* records the status of its messages, when the consumer has ``result_ttl``; *limits* has the policies that a
    ``limit_policy`` names.
    """

    def __init__(
        self,
        consumer: Consumer,
        dispatcher: MessageDispatcher,
        metrics: ConsumerMetrics,
        redact: Callable[[str], str],
        *,
        on_end: Sequence[OnEnd] = (),
        jobs: JobTracker | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.consumer = consumer
        self._dispatcher = dispatcher
        self.metrics = metrics
        self._redact = redact
        self._on_end = on_end
        self._jobs = jobs
        self.latest_published = 0.0
        """When the message whose first attempt started last was published, in seconds since the epoch."""
        self._prefetched: deque[PendingDelivery] = deque()
        self._tasks = BackgroundTaskGroup()
        self._draining = False
        self._paused = False
        self._rate = StartRate(consumer, limits, self._start_next)

    @property
    def running(self) -> int:
        """The number of messages that the handler is processing."""
        return len(self._tasks)

    def on_delivery(self, delivery: PendingDelivery) -> None:
        """Queue *delivery*, and start its handler as soon as concurrency allows."""
        self._prefetched.append(delivery)
        self._start_next()

    @property
    def paused(self) -> bool:
        """Whether no handler starts; those that are running finish."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        self._start_next()

    async def requeue_prefetched(self) -> None:
        """Return the deliveries that have not started to the queue."""
        deliveries = list(self._prefetched)
        self._prefetched.clear()
        await asyncio.gather(*(self._settle(each.requeue, ConsumeOutcome.REQUEUED) for each in deliveries))

    async def drain(self, timeout: float) -> None:
        """Requeue deliveries that have not started; wait *timeout* seconds for the others, then cancel and requeue."""
        self._draining = True
        await self._rate.close()
        requeue = asyncio.create_task(self.requeue_prefetched())  # it may wait for an unavailable database
        await self._tasks.wait(timeout)
        if self._tasks:
            logger.warning(
                "%d handlers of %r cancelled at shutdown; messages requeued", len(self._tasks), self.consumer.name
            )
            await self._tasks.cancel()
        await requeue

    def _start_next(self, ended: object = None) -> None:
        while self._prefetched and len(self._tasks) < self.consumer.concurrency:
            if self._draining or self._paused or not self._rate.may_start():
                return
            delivery = self._prefetched.popleft()
            if not delivery.redelivered:
                self._tasks.start(self._handle(delivery)).add_done_callback(self._start_next)
                self._rate.count_start()

    async def _handle(self, delivery: PendingDelivery) -> None:
        started = perf_counter()
        if delivery.envelope.published:
            if ATTEMPT not in delivery.envelope.headers:
                self.latest_published = delivery.envelope.published
            self.metrics.age.observe(max(0.0, time() - delivery.envelope.published))
        self.metrics.in_flight.inc()
        jobs = self._jobs if delivery.envelope.id else None  # other publishers may omit the id
        job = None if jobs is None else jobs.job(delivery.envelope)
        try:
            is_new = await self._dispatch(delivery, job)
        except asyncio.CancelledError as error:
            if job is None or not job.is_cancelled:
                await self._requeue_interrupted(delivery, job)
                raise
            _uncancel()
            await self._cancel(delivery, job, error, perf_counter() - started)
        except Exception as error:
            if job is not None and job.is_cancelled:
                await self._cancel(delivery, job, error, perf_counter() - started)
            else:
                await self._retry_or_dead_letter(delivery, job, error, perf_counter() - started)
        else:
            outcome = ConsumeOutcome.DONE if is_new else ConsumeOutcome.DUPLICATE
            await self._end(delivery, job, outcome, perf_counter() - started)
            await self._settle(delivery.ack, outcome)
        finally:
            self.metrics.in_flight.dec()
            self.metrics.duration.observe(perf_counter() - started)

    async def _dispatch(self, delivery: PendingDelivery, job: Job | None) -> bool:
        envelope = delivery.envelope
        if delivery.is_exhausted:
            await self._dispatcher.refuse_unsettled(envelope)
            return False
        if job is None or self._jobs is None:
            return await self._dispatcher.dispatch(envelope)
        try:
            await self._jobs.begin(job)
            return await self._dispatcher.dispatch(envelope, job)
        finally:
            self._jobs.leave(job)

    async def _end(
        self, delivery: PendingDelivery, job: Job | None, outcome: ConsumeOutcome, seconds: float, error: str = ""
    ) -> bool:
        """Tell *outcome*; return False when the message was cancelled meanwhile and is not retried."""
        is_allowed = True if job is None else await job.end(outcome, error)
        if is_allowed or outcome is not ConsumeOutcome.RETRIED:
            for on_end in self._on_end:
                await on_end(delivery.envelope, outcome, seconds)
        return is_allowed

    async def _requeue_interrupted(self, delivery: PendingDelivery, job: Job | None) -> None:
        """Return a message to the queue whose handler is cancelled at shutdown."""
        if job is not None:
            await job.end(ConsumeOutcome.REQUEUED, "")
        await self._settle(delivery.requeue, ConsumeOutcome.REQUEUED)

    async def _cancel(self, delivery: PendingDelivery, job: Job, error: BaseException, seconds: float) -> None:
        """Remove a cancelled message from the queue; *error* is how its handler ended."""
        logger.info("message %s %s was cancelled (%s)", *job.key, type(error).__name__)
        await self._end(delivery, job, ConsumeOutcome.CANCELLED, seconds)
        await self._settle(delivery.ack, ConsumeOutcome.CANCELLED)

    async def _retry_or_dead_letter(
        self, delivery: PendingDelivery, job: Job | None, error: Exception, seconds: float
    ) -> None:
        envelope = delivery.envelope
        reason = _reason_label(error)
        failed = f"{time():.3f}"
        first = {FIRST_FAILED: envelope.headers.get(FIRST_FAILED, failed)}
        delays = self.consumer.retry
        if envelope.attempt <= len(delays) and not isinstance(error, UnhandledMessage):
            delay = delays[envelope.attempt - 1]
            self._log_failure(logging.WARNING, delivery, error, f"next attempt in {delay:g}s")
            if await self._end(delivery, job, ConsumeOutcome.RETRIED, seconds, self._describe(error)) or job is None:
                self.metrics.retried(reason)
                await self._settle(lambda: delivery.retry(delay, first), ConsumeOutcome.RETRIED)
            else:
                await self._cancel(delivery, job, error, seconds)
            return
        self._log_failure(logging.ERROR, delivery, error, "moved to the dead letters")
        self.metrics.dead_lettered(reason)
        await self._end(delivery, job, ConsumeOutcome.DEAD_LETTERED, seconds, self._describe(error))
        headers = {**first, LAST_FAILED: failed, REASON: self._describe(error), STACK: self._stack(error)}
        await self._settle(lambda: delivery.dead_letter(headers), ConsumeOutcome.DEAD_LETTERED)

    async def _settle(self, settle: Callable[[], Awaitable[None]], outcome: ConsumeOutcome) -> None:
        try:
            await settle()
        except Exception as error:
            # Whatever the cause, the message is still in the queue and is delivered again.
            level = logging.DEBUG if isinstance(error, SettlementFailed) else logging.WARNING
            logger.log(level, "message %r could not be settled as %s: %s", self.consumer.name, outcome.value, error)
            outcome = ConsumeOutcome.UNSETTLED
        self.metrics.consumed(outcome)

    def _log_failure(self, level: int, delivery: PendingDelivery, error: Exception, consequence: str) -> None:
        envelope = delivery.envelope
        logger.log(
            level,
            "handler of message %s %s failed at attempt %d, %s: %s",
            envelope.name,
            envelope.id,
            envelope.attempt,
            consequence,
            self._describe(error),
            exc_info=None if isinstance(error, UnhandledMessage) else error,
        )

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"timed out after {self.consumer.timeout:g}s"
        text = str(error) if isinstance(error, UnhandledMessage) else f"{type(error).__name__}: {error}"
        return storable_text(self._redact(text))[:MAX_REASON_LENGTH]

    def _stack(self, error: Exception) -> str:
        return storable_text(self._redact(format_traceback(error)))[-MAX_STACK_LENGTH:]


def _uncancel() -> None:
    """Let the current task continue after its cancellation."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()


def _reason_label(error: Exception) -> str:
    if isinstance(error, UnhandledMessage):
        return error.reason
    return "timeout" if isinstance(error, TimeoutError) else "error"
