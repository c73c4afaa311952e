"""Take messages, have them handled, some at a time, and settle each by how that went."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import deque
from collections.abc import Callable
from time import perf_counter, time

from scalekit.contracts import Consumer
from scalekit_queue.dispatch import MessageDispatcher, UndecodableMessage
from scalekit_queue.envelope import FIRST, LAST, REASON, STACK, PendingDelivery, SettlementFailed
from scalekit_queue.metrics import ConsumeOutcome, ConsumerMetrics
from scalekit_queue.task_group import BackgroundTaskGroup

logger = logging.getLogger("scalekit.queue")

LONGEST_REASON = 1000
LONGEST_STACK = 8000
"""Characters of a stack that a dead letter keeps: its end, which tells most."""


class ConsumerRunner:
    """The messages that *consumer* has taken and not settled."""

    def __init__(
        self, consumer: Consumer, handling: MessageDispatcher, metrics: ConsumerMetrics, redact: Callable[[str], str]
    ) -> None:
        self.consumer = consumer
        self._handling = handling
        self._metrics = metrics
        self._redact = redact
        self._held: deque[PendingDelivery] = deque()
        self._running = BackgroundTaskGroup()
        self._ending = False

    def take(self, delivery: PendingDelivery) -> None:
        """Handle *delivery* as soon as one of those before it is done."""
        self._held.append(delivery)
        self._begin()

    async def finish(self, limit: float) -> None:
        """Give back what has not begun, and let the rest finish within *limit* seconds, or cut and give it back."""
        self._ending = True
        while self._held:
            await self._settle(self._held.popleft().release, ConsumeOutcome.RELEASED)
        await self._running.wait(limit)
        if self._running:
            logger.warning("%d messages %r were cut and given back", len(self._running), self.consumer.name)
            await self._running.cancel()

    def _begin(self, ended: object = None) -> None:
        while self._held and len(self._running) < self.consumer.concurrency and not self._ending:
            delivery = self._held.popleft()
            if not delivery.lost:
                self._running.begin(self._consume(delivery)).add_done_callback(self._begin)

    async def _consume(self, delivery: PendingDelivery) -> None:
        began = perf_counter()
        if delivery.envelope.published:
            self._metrics.age.observe(max(0.0, time() - delivery.envelope.published))
        self._metrics.in_process.inc()
        try:
            is_new = await self._handling.handle(delivery.envelope)
        except asyncio.CancelledError:
            await self._settle(delivery.release, ConsumeOutcome.RELEASED)
            raise
        except Exception as error:
            await self._fail(delivery, error)
        else:
            await self._settle(delivery.done, ConsumeOutcome.DONE if is_new else ConsumeOutcome.DUPLICATE)
        finally:
            self._metrics.in_process.dec()
            self._metrics.seconds.observe(perf_counter() - began)

    async def _fail(self, delivery: PendingDelivery, error: Exception) -> None:
        envelope = delivery.envelope
        why = _kind_of(error)
        failed = f"{time():.3f}"
        first = {FIRST: envelope.headers.get(FIRST, failed)}
        delays = self.consumer.retry
        if envelope.attempt <= len(delays) and why != "undecodable":
            delay = delays[envelope.attempt - 1]
            self._log(logging.WARNING, delivery, error, f"tried again in {delay:g}s")
            self._metrics.retried(why)
            await self._settle(lambda: delivery.retry(delay, first), ConsumeOutcome.RETRIED)
            return
        self._log(logging.ERROR, delivery, error, "kept as a dead letter")
        self._metrics.buried(why)
        headers = {**first, LAST: failed, REASON: self._reason(error), STACK: self._stack(error)}
        await self._settle(lambda: delivery.bury(headers), ConsumeOutcome.DEAD)

    async def _settle(self, how: Callable[[], object], outcome: ConsumeOutcome) -> None:
        try:
            await how()  # type: ignore[misc]
        except Exception as error:
            # Whatever the reason is, it was not taken from the queue: it comes again.
            level = logging.DEBUG if isinstance(error, SettlementFailed) else logging.WARNING
            logger.log(level, "a message %r was not settled as %s: %s", self.consumer.name, outcome.value, error)
            outcome = ConsumeOutcome.UNSETTLED
        self._metrics.consumed(outcome)

    def _log(self, level: int, delivery: PendingDelivery, error: Exception, what: str) -> None:
        envelope = delivery.envelope
        logger.log(
            level,
            "message %s %s failed at attempt %d and is %s: %s",
            envelope.name,
            envelope.id,
            envelope.attempt,
            what,
            self._reason(error),
            exc_info=None if isinstance(error, UndecodableMessage) else error,
        )

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"not done within {self.consumer.timeout:g}s"
        told = str(error) if isinstance(error, UndecodableMessage) else f"{type(error).__name__}: {error}"
        return self._redact(told)[:LONGEST_REASON]

    def _stack(self, error: Exception) -> str:
        return self._redact("".join(traceback.format_exception(error)))[-LONGEST_STACK:]


def _kind_of(error: Exception) -> str:
    if isinstance(error, UndecodableMessage):
        return "undecodable"
    return "timeout" if isinstance(error, TimeoutError) else "error"
