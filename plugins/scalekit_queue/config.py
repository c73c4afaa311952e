"""The table ``[plugins.queue]``."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import (
    Certificates,
    Duration,
    PositiveDuration,
    PositiveSize,
    Size,
    TextPattern,
    Url,
    describe_error,
    did_you_mean,
)
from scalekit.contracts import Consumers


class QueueUrl(Url):
    """The address of a queue."""

    SCHEMES = ("sqlite", "amqp", "amqps")
    EXAMPLE = "sqlite:///queue.db or amqp://user@host:5672/"
    __slots__ = ()


def _names_a_file(url: QueueUrl) -> QueueUrl:
    if url.scheme == "sqlite" and not url.file:
        raise ValueError("the address names no file; write sqlite:///queue.db, or sqlite:////var/lib/queue.db")
    return url


def _loadable(target: str) -> str:
    load_consumers(target)
    return target


class QueueConfig(Certificates):
    """Where messages go, and who consumes them."""

    url: Annotated[QueueUrl, AfterValidator(_names_a_file)] = QueueUrl("sqlite:///queue.db")
    """The queue: a SQLite file, or RabbitMQ."""
    consumers: Annotated[str, AfterValidator(_loadable)] | None = None
    """The ``Consumers`` of the application, as ``module.path:name``; without it messages are only published."""
    consume: Literal["everywhere", "workers"] = "everywhere"
    """Which processes consume: all of them, or only those whose ``[server] role`` is worker."""
    prefix: Annotated[
        str, TextPattern(r"^[A-Za-z0-9._:-]{0,64}$", 'at most 64 letters, digits and ". _ : -", such as "shop."')
    ] = ""
    """What the names of queues at the broker begin with, where several services share it."""
    max_body: PositiveSize = Size("16MiB")
    """Largest body of a message, as JSON."""
    max_waiting: Annotated[int, Field(ge=1)] = 10_000
    """Messages that may wait to be sent in one process; more are refused at once."""
    drain: PositiveDuration = Duration("8s")
    """How long handlers may go on when the process ends, before they are cut and their messages given back."""
    heartbeat: Annotated[int, Field(ge=1, le=600)] = 10
    """Seconds between heartbeats with RabbitMQ; a connection that is silent for three of them is made anew."""
    check_interval: PositiveDuration = Duration("5s")
    """Time between two looks at whether each consumer of RabbitMQ makes progress."""
    synchronous: Literal["normal", "full"] = "normal"
    """How SQLite commits: ``normal`` loses nothing when processes are killed, ``full`` nothing on power loss either."""
    lease: PositiveDuration = Duration("15s")
    """How long what a killed process held stays away in SQLite."""
    poll: PositiveDuration = Duration("100ms")
    """Time between two looks of an idle consumer at SQLite, for what other processes publish."""
    outbox: bool = True
    """Whether the database of the pool, where there is one, gets the tables of outbox and inbox, and a relay."""
    outbox_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Messages that the relay takes from the outbox at once."""
    outbox_poll: PositiveDuration = Duration("1s")
    """Time between two looks of an idle relay at the outbox, for what other processes store."""

    @model_validator(mode="after")
    def _fits_together(self) -> QueueConfig:
        self.refuse_unless("amqps", self.url)
        return self

    @property
    def file(self) -> str:
        """The file of messages, where the queue is one."""
        return self.url.file

    def load(self) -> Consumers:
        """Return the consumers of the application; none where the file names none."""
        return Consumers() if self.consumers is None else load_consumers(self.consumers)


def load_consumers(target: str) -> Consumers:
    """Return what ``module.path:name`` names; raises ValueError saying what is wrong with it."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise ValueError(f"expected module.path:name, such as shop.events:consumers, got {target!r}")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise ValueError(f"module {module_name!r} did not load: {describe_error(error)}") from error
    found = getattr(module, name, None)
    if not isinstance(found, Consumers):
        absent = f"has no {name!r}{did_you_mean(name, dir(module))}"
        what = absent if found is None else f"has {name!r}, which is no scalekit.contracts.consumers.Consumers"
        raise ValueError(f"module {module_name!r} {what}; write {name} = Consumers() there")
    return found
