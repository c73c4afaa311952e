"""The table ``[plugins.queue]``."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import (
    DeployMark,
    Duration,
    PositiveDuration,
    PositiveSize,
    Size,
    Table,
    TextPattern,
    Tls,
    Url,
    describe_error,
    did_you_mean,
)
from scalekit.contracts import Consumers
from scalekit_queue.schedules.config import ScheduleConfig

POOL_DATABASE = "database:"
"""The URL of the pool's database."""


class QueueUrl(Url):
    """The URL of a queue."""

    SCHEMES = ("sqlite", "amqp", "amqps", "postgresql", "postgres", "database")
    EXAMPLE = "sqlite:///queue.db, amqp://user@host:5672/, database: or postgresql://user@host:5432/name"
    __slots__ = ()

    def _check(self) -> None:
        if self.scheme != "database":
            super()._check()
        elif self.reveal() != POOL_DATABASE:
            raise ValueError(f"the pool's database has no address here; write {POOL_DATABASE}")


def _require_file(url: QueueUrl) -> QueueUrl:
    if url.scheme == "sqlite" and not url.file:
        raise ValueError("the URL has no file; write sqlite:///queue.db, or sqlite:////var/lib/queue.db")
    return url


def _check_consumers(target: str) -> str:
    load_consumers(target)
    return target


class QueueConfig(Table):
    """The queue's transport, the consumers of the application, and the outbox."""

    url: Annotated[QueueUrl, AfterValidator(_require_file)] = QueueUrl("sqlite:///queue.db")
    """The queue: a SQLite file, RabbitMQ, the pool's database (``database:``), or another PostgreSQL."""
    consumers: Annotated[str, AfterValidator(_check_consumers)] | None = None
    """The ``Consumers`` of the application, as ``module.path:name``; without it this service only publishes."""
    consume_in: Annotated[Literal["everywhere", "workers"], DeployMark("worker_role", when="workers")] = "everywhere"
    """The processes that consume: all of them, or only those whose ``[server] role`` is worker."""
    prefix: Annotated[
        str, TextPattern(r"^[A-Za-z0-9._:-]{0,64}$", 'at most 64 letters, digits and ". _ : -", such as "shop."')
    ] = ""
    """Prefix of the queue names at RabbitMQ and in PostgreSQL, for several services on one server."""
    max_body: PositiveSize = Size("16MiB")
    """Maximum size of a message body, as JSON."""
    max_waiting: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of messages that wait to be sent in one process; publishing more fails immediately."""
    drain_timeout: PositiveDuration = Duration("8s")
    """How long running handlers have to finish at shutdown before they are cancelled and their messages requeued."""
    tls: Tls | None = None
    """TLS of the connection to RabbitMQ, with ``amqps``: ``{ ca_file, cert_file, key_file, verify }``."""
    heartbeat: Annotated[Duration, Field(ge=1, le=600)] = Duration("10s")
    """AMQP heartbeat interval, in whole seconds; a connection silent for three intervals is replaced."""
    queue_type: Literal["quorum", "classic"] = "quorum"
    """Type of new queues at RabbitMQ: replicated ``quorum`` queues, or ``classic`` ones, with ten priorities."""
    check_interval: PositiveDuration = Duration("5s")
    """Time between two checks whether each RabbitMQ consumer makes progress."""
    synchronous: Literal["normal", "full"] = "normal"
    """SQLite's ``PRAGMA synchronous``: ``normal`` survives a killed process, ``full`` a power failure too."""
    visibility_timeout: PositiveDuration = Duration("15s")
    """How long a message of a killed process stays invisible in SQLite and PostgreSQL before it is delivered again."""
    poll_interval: PositiveDuration = Duration("100ms")
    """Time between two polls of SQLite or PostgreSQL by an idle process, for messages of other processes."""
    max_connections: Annotated[int, Field(ge=3, le=1000)] = 8
    """Maximum number of connections to PostgreSQL of one process for the queue, beside those of the pool."""
    outbox: bool = True
    """Create the tables of outbox and inbox in the pool's database, if there is one, and relay the outbox."""
    outbox_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Maximum number of messages that the relay publishes in one batch."""
    outbox_interval: PositiveDuration = Duration("1s")
    """Time between two polls of the outbox by an idle relay, for messages of other processes."""
    schedules: tuple[ScheduleConfig, ...] = ()
    """Schedules, in addition to those of ``consumers``."""

    @model_validator(mode="after")
    def _check_combination(self) -> QueueConfig:
        if self.tls is not None:
            self.tls.require_scheme("amqps", self.url)
        names = [each.name for each in self.schedules]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"duplicate name of a schedule: {', '.join(duplicates)}; rename one of them")
        return self

    @property
    def uses_pool(self) -> bool:
        """Whether the messages are in the pool's database."""
        return self.url.scheme == "database"

    @property
    def system(self) -> Literal["sqlite", "rabbitmq", "postgresql"]:
        """The name of the transport."""
        if self.url.scheme in ("amqp", "amqps"):
            return "rabbitmq"
        return "sqlite" if self.url.scheme == "sqlite" else "postgresql"

    @property
    def file(self) -> str:
        """The path of the SQLite file."""
        return self.url.file

    @property
    def has_schedules(self) -> bool:
        """Whether the file or the consumers have a schedule."""
        return bool(self.schedules) or any(each.schedule is not None for each in self.load())

    def load(self) -> Consumers:
        """Return the consumers of the application, none when the key is not set."""
        return Consumers() if self.consumers is None else load_consumers(self.consumers)


def load_consumers(target: str) -> Consumers:
    """Return the ``Consumers`` at ``module.path:name``; raise ValueError with the cause when it cannot be loaded."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise ValueError(f"expected module.path:name, such as shop.events:consumers, got {target!r}")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise ValueError(f"module {module_name!r} did not load: {describe_error(error)}") from error
    found = getattr(module, name, None)
    if not isinstance(found, Consumers):
        missing = f"has no {name!r}{did_you_mean(name, dir(module))}"
        problem = missing if found is None else f"has {name!r}, which is no scalekit.contracts.Consumers"
        raise ValueError(f"module {module_name!r} {problem}; write {name} = Consumers() there")
    return found
