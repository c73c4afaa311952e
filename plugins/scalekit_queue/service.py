"""The queue of one application: its transport, its consumers, its outbox, from start to end."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from scalekit import Context, StartError
from scalekit.contracts import DATABASE, Consumer, Database
from scalekit.telemetry import TELEMETRY
from scalekit_queue.config import QueueConfig
from scalekit_queue.consumer import ConsumerRunner
from scalekit_queue.dispatch import MessageDispatcher
from scalekit_queue.envelope import Transport
from scalekit_queue.inbox import Inbox, run_sweeper
from scalekit_queue.metrics import ConsumerMetrics, PublishMetrics
from scalekit_queue.outbox import Outbox
from scalekit_queue.outbox_relay import run_relay
from scalekit_queue.propagation import committed_headers
from scalekit_queue.publisher import MessagePublisher
from scalekit_queue.schema import OutboxSchema
from scalekit_queue.task_group import BackgroundTaskGroup


class QueueService:
    """What runs: *client* publishes, *consumptions* consume."""

    def __init__(
        self,
        config: QueueConfig,
        transport: Transport,
        client: MessagePublisher,
        consumptions: Sequence[ConsumerRunner],
        outbox: Outbox | None,
        inboxes: Sequence[Inbox],
        metrics: PublishMetrics,
    ) -> None:
        self.client = client
        self._config = config
        self._transport = transport
        self._consumptions = consumptions
        self._outbox = outbox
        self._inboxes = inboxes
        self._metrics = metrics
        self._background = BackgroundTaskGroup()

    @property
    def trouble(self) -> str:
        """What is wrong now; empty while all is well."""
        return self._transport.trouble

    async def begin(self) -> None:
        """Begin to consume, and to pass on what lies in the outbox."""
        self._transport.begin()
        if self._outbox is not None:
            self._background.begin(run_relay(self._outbox, self._config.outbox_poll, self._metrics))
        if self._inboxes:
            self._background.begin(run_sweeper(self._inboxes))

    async def pause(self) -> None:
        """Take no more messages."""
        await self._transport.pause()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Publish while inside; on leaving finish what has begun, and give back the rest."""
        async with self._transport.running():
            try:
                yield
            finally:
                await self._transport.pause()
                finishing = BackgroundTaskGroup()
                for consumption in self._consumptions:
                    finishing.begin(consumption.finish(self._config.drain))
                await finishing.wait(self._config.drain + 2.0)
                await self._background.cancel()


@asynccontextmanager
async def open_queue_service(config: QueueConfig, context: Context) -> AsyncGenerator[QueueService, None]:
    """Have the queue that *config* describes run while inside."""
    metrics = PublishMetrics(context.get(TELEMETRY))
    transport = transport_of(config, metrics)
    database = context.get(DATABASE) if config.outbox and context.has(DATABASE) else None
    tables = None if database is None else OutboxSchema(database)
    if tables is not None:
        await tables.make_at_start()
    consumers = list(config.load()) if consumes(config, context) else []
    inboxes = {each.name: _inbox(each, database, tables) for each in consumers if each.dedupe is not None}
    consumptions = [_consumption(each, inboxes.get(each.name), context) for each in consumers]
    for consumption in consumptions:
        transport.subscribe(consumption.consumer.name, consumption.consumer.prefetch, consumption.take)

    outbox = None
    if database is not None and tables is not None:
        outbox = Outbox(database, tables, transport.send, lambda: committed_headers(context), config.outbox_batch)
    client = MessagePublisher(transport, outbox, config.max_body, metrics, context)
    queue = QueueService(config, transport, client, consumptions, outbox, list(inboxes.values()), metrics)
    async with queue.running():
        yield queue


def transport_of(config: QueueConfig, metrics: PublishMetrics) -> Transport:
    """Return the transport that the address names, not yet running."""
    if config.url.scheme == "sqlite":
        from scalekit_queue.sqlite.transport import SqliteTransport

        return SqliteTransport(config.file, config.synchronous, config.lease, config.poll, config.max_waiting)
    from scalekit_queue.amqp.broker import Broker
    from scalekit_queue.amqp.transport import AmqpTransport

    return AmqpTransport(
        Broker(config), config.heartbeat, config.prefix, config.check_interval, config.max_waiting, metrics
    )


def verify_config(config: QueueConfig, context: Context, has_database: bool) -> None:
    """Raise ImportError when the client library is not there, and StartError for what else is known not to start."""
    if config.url.scheme == "sqlite":
        importlib.import_module("scalekit_queue.sqlite.transport")
    else:
        importlib.import_module("scalekit_queue.amqp.transport")
        from scalekit_queue.amqp.broker import Broker

        Broker(config)
    for consumer in config.load() if consumes(config, context) else ():
        if consumer.dedupe is not None and not (config.outbox and has_database):
            raise StartError(_no_inbox(consumer))


def consumes(config: QueueConfig, context: Context) -> bool:
    """Tell whether this process consumes."""
    return config.consume == "everywhere" or context.server.role == "worker"


def _inbox(consumer: Consumer, database: Database | None, tables: OutboxSchema | None) -> Inbox:
    if database is None or tables is None or consumer.dedupe is None:
        raise StartError(_no_inbox(consumer))
    return Inbox(database, tables, consumer.name, consumer.dedupe)


def _no_inbox(consumer: Consumer) -> str:
    return (
        f"the consumer of {consumer.name!r} dedupes, which takes a database;"
        " turn on [plugins.pool] and leave outbox = true in [plugins.queue]"
    )


def _consumption(consumer: Consumer, inbox: Inbox | None, context: Context) -> ConsumerRunner:
    metrics = ConsumerMetrics(context.get(TELEMETRY), consumer.name)
    return ConsumerRunner(consumer, MessageDispatcher(consumer, inbox, context), metrics, context.redact)
