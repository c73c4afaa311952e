"""The queue of one application from start to shutdown: transport, publisher, consumers, outbox relay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from scalekit import Context, Key
from scalekit.contracts import DATABASE, LIMITS, OVERRIDES, Consumer, Database, DatabaseSchema, PublishFailed
from scalekit.telemetry import TELEMETRY
from scalekit_queue.config import QueueConfig
from scalekit_queue.consumer import ConsumerRunner, OnEnd
from scalekit_queue.dispatch import MessageDispatcher
from scalekit_queue.envelope import Envelope
from scalekit_queue.factory import consumes, create_transport, inbox_missing
from scalekit_queue.inbox import INBOX_TABLE, Inbox, run_cleanup
from scalekit_queue.jobs.database import JobTable
from scalekit_queue.jobs.groups import JobGroups
from scalekit_queue.jobs.store import JobStore
from scalekit_queue.jobs.task_results import TaskResultStore
from scalekit_queue.jobs.tracker import JobTracker
from scalekit_queue.jobs.unique_keys import UniqueKeys
from scalekit_queue.metrics import ConsumerMetrics, PublishMetrics, ScheduleMetrics
from scalekit_queue.outbox import OUTBOX_TABLE, Outbox, run_relay
from scalekit_queue.pauses import PAUSES, ConsumerPauses
from scalekit_queue.propagation import committed_headers
from scalekit_queue.publisher import JobStores, MessagePublisher, send_with_jobs
from scalekit_queue.schedules.database_store import DatabaseScheduleStore
from scalekit_queue.schedules.plan import plan_schedules
from scalekit_queue.schedules.scheduler import Scheduler
from scalekit_queue.schedules.state import ScheduleStore
from scalekit_queue.spans import relay_trace
from scalekit_queue.start_rate import verify_limit_policies
from scalekit_queue.task_group import BackgroundTaskGroup
from scalekit_queue.transport import Transport

REMEDY = "set outbox = false in [plugins.queue]"


class QueueService:
    """The running queue: *publisher* publishes, runners in *pauses* consume, background tasks relay and clean up."""

    def __init__(
        self,
        config: QueueConfig,
        transport: Transport,
        publisher: MessagePublisher,
        metrics: PublishMetrics,
        *,
        pauses: ConsumerPauses,
        outbox: Outbox | None,
        inboxes: Sequence[Inbox],
        scheduler: Scheduler | None,
        stores: JobStores | None,
    ) -> None:
        self.publisher = publisher
        self._config = config
        self._transport = transport
        self._metrics = metrics
        self.pauses = pauses
        self.outbox = outbox
        self.scheduler = scheduler
        self.stores = stores
        self._inboxes = inboxes
        self._background = BackgroundTaskGroup()

    def run_in_background(self, work: Coroutine[Any, Any, object]) -> None:
        """Run *work* until the queue closes."""
        self._background.start(work)

    @property
    def system(self) -> str:
        """The name of the transport, such as ``rabbitmq``."""
        return self._transport.system

    @property
    def delay_queues(self) -> Sequence[str]:
        """The queues of delayed messages that this process has used, where the transport cannot list them."""
        return self._transport.delay_queues

    @property
    def last_error(self) -> str:
        """The current error of the transport; empty while it works."""
        return self._transport.last_error

    async def start(self) -> None:
        """Start consuming, the outbox relay and the inbox clean-up."""
        await self.pauses.apply()
        self._transport.start_consuming()
        if self.outbox is not None:
            self._background.start(run_relay(self.outbox, self._config.outbox_interval, self._metrics))
        if self._inboxes:
            self._background.start(run_cleanup(self._inboxes))
        if self.stores is not None and self.stores.jobs:
            self._background.start(self.stores.jobs.run())

    async def stop_consuming(self) -> None:
        """Accept no more deliveries."""
        await self._transport.stop_consuming()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Publish while inside; on leaving drain the consumers, within ``drain_timeout``."""
        async with self._transport.open():
            try:
                yield
            finally:
                await self._transport.stop_consuming()
                await self.pauses.stop()
                draining = BackgroundTaskGroup()
                for runner in self.pauses.runners:
                    draining.start(runner.drain(self._config.drain_timeout))
                await draining.wait(self._config.drain_timeout + 2.0)
                await self._background.cancel()
                if self.stores is not None:
                    await self.stores.jobs.close()
                    await self.stores.unique_keys.close()


SERVICE: Key[QueueService] = Key("queue service", plugin="queue")


@asynccontextmanager
async def open_queue_service(config: QueueConfig, context: Context) -> AsyncGenerator[QueueService, None]:
    """Open the queue that *config* describes while inside."""
    metrics = PublishMetrics(context.get(TELEMETRY))
    async with create_transport(config, context, metrics) as transport:
        service = await _create_service(config, context, transport, metrics)
        with service.pauses.applied():
            async with service.open():
                yield service


async def _create_service(
    config: QueueConfig, context: Context, transport: Transport, metrics: PublishMetrics
) -> QueueService:
    database = context.get(DATABASE) if config.outbox and context.has(DATABASE) else None
    tables = [INBOX_TABLE] if config.uses_pool else [OUTBOX_TABLE, INBOX_TABLE]
    schema = None if database is None else DatabaseSchema("queue", database, *tables, remedy=REMEDY)
    if schema is not None:
        await schema.create_at_start()
    stores, jobs_table = _new_stores(config, transport, database)
    outbox = None
    if database is not None and schema is not None and not config.uses_pool:
        # The transaction that stored a message has stored its job: adding it again would undo a cancellation.
        jobs = None if stores is None or stores.jobs.store.is_transactional else stores.jobs
        send = partial(_relay, context, transport, jobs)
        outbox = Outbox(
            database, schema, send, lambda: committed_headers(context), prefix=config.prefix, batch=config.outbox_batch
        )
        if jobs_table is not None:
            jobs_table.store_message = outbox.store
    scheduler = _new_scheduler(config, context, transport, database, outbox)
    consumers = list(config.load()) if consumes(config, context) else []
    await verify_limit_policies(consumers, context)
    inboxes = {
        each.name: inbox for each in consumers if (inbox := _inbox(config.prefix, each, database, schema)) is not None
    }
    store = outbox or transport.transactional
    publisher = MessagePublisher(transport, store, config.max_body, metrics, context, stores=stores)
    on_end = _on_end(scheduler, stores)
    runners = [
        _runner(each, inboxes.get(each.name), context, publisher, on_end=on_end, stores=stores) for each in consumers
    ]
    for runner in runners:
        transport.subscribe(runner.consumer.name, runner.consumer.prefetch, runner.on_delivery)
    pauses = ConsumerPauses(context.get(OVERRIDES).group(PAUSES), transport, runners)
    return QueueService(
        config,
        transport,
        publisher,
        metrics,
        pauses=pauses,
        outbox=outbox,
        inboxes=list(inboxes.values()),
        scheduler=scheduler,
        stores=stores,
    )


def _new_stores(
    config: QueueConfig, transport: Transport, database: Database | None
) -> tuple[JobStores | None, JobTable | None]:
    """Return the stores of jobs, or None when no database has them, and their tables beside a broker."""
    table = None
    jobs = transport.job_database()
    if jobs is None and database is not None:
        jobs = table = JobTable(database, is_transactional=True)
    if jobs is None:
        return None, None
    tracker = JobTracker(JobStore(jobs, config.prefix), config.load())
    unique_keys, groups = UniqueKeys(jobs, config.prefix), JobGroups(jobs, config.prefix)
    return JobStores(tracker, unique_keys, groups, TaskResultStore(jobs, config.prefix)), table


def _on_end(scheduler: Scheduler | None, stores: JobStores | None) -> list[OnEnd]:
    """Return what is told of the end of messages."""
    told: list[OnEnd] = [] if scheduler is None else [scheduler.record_end]
    return told if stores is None else [*told, stores.unique_keys.on_end, stores.groups.on_end]


def _new_scheduler(
    config: QueueConfig, context: Context, transport: Transport, database: Database | None, outbox: Outbox | None
) -> Scheduler | None:
    """Return the scheduler, or None in a service without schedules."""
    store: ScheduleStore | None = transport.schedule_store()
    if store is None and database is not None and outbox is not None:
        store = DatabaseScheduleStore(database, outbox.store, config.prefix)
    planned = plan_schedules(config, store is not None)
    if not planned or store is None:
        return None
    return Scheduler(planned, store, ScheduleMetrics(context.get(TELEMETRY), [each.schedule.name for each in planned]))


def _inbox(prefix: str, consumer: Consumer, database: Database | None, schema: DatabaseSchema | None) -> Inbox | None:
    """Return the inbox of *consumer*, None when it does not deduplicate; by default handlers of schedules do.

    Not with SQLite, where the transaction of a handler keeps all other writers waiting.
    """
    window = consumer.dedupe
    if window is None and database is not None and database.dialect == "postgresql":
        window = consumer.default_dedupe
    if window is None:
        return None
    if database is None or schema is None:
        raise inbox_missing(consumer)
    return Inbox(database, schema, prefix + consumer.name, window)


async def _relay(
    context: Context, transport: Transport, jobs: JobTracker | None, envelopes: Sequence[Envelope], timeout: float
) -> list[PublishFailed | None]:
    with relay_trace(context, transport.system, envelopes):
        return await send_with_jobs(transport, jobs, envelopes, timeout)


def _runner(
    consumer: Consumer,
    inbox: Inbox | None,
    context: Context,
    publisher: MessagePublisher,
    *,
    on_end: Sequence[OnEnd],
    stores: JobStores | None,
) -> ConsumerRunner:
    metrics = ConsumerMetrics(context.get(TELEMETRY), consumer.name)
    jobs = None if stores is None or consumer.result_ttl is None else stores.jobs
    dispatcher = MessageDispatcher(consumer, inbox, context, publisher, None if jobs is None else jobs.store)
    limits = None if consumer.limit_policy is None else context.get(LIMITS)
    return ConsumerRunner(consumer, dispatcher, metrics, context.redact, on_end=on_end, jobs=jobs, limits=limits)
