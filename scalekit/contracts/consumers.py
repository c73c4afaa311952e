"""Consumers: declare handlers of queue messages.

    consumers = Consumers()

    @consumers.on("data.created", retry=["5s", "30s"])
    async def count(message: Message[Created]) -> None:
        await message.context.get(DATABASE).execute(COUNT, {"value": message.body.value})

This module evaluates its annotations; so must a module whose handlers use types defined inside a function.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypedDict, TypeVar, Unpack, get_args, get_origin, get_type_hints, overload

from pydantic import TypeAdapter

from scalekit.config.types import Rate
from scalekit.contracts.consumer_options import (
    at_least_one,
    to_optional_seconds,
    to_positive_seconds,
    to_seconds,
    validate_message_name,
)
from scalekit.contracts.cron import Cron
from scalekit.contracts.messages import Message
from scalekit.contracts.schedules import Every, MissedPolicy, OverlapPolicy, Rule, Schedule, Tick
from scalekit.contracts.tasks import DurableTask, TaskFunction, TaskOptions

Handler = Callable[[Any], Awaitable[Any]]
Decorated = TypeVar("Decorated", bound=Handler)
DeclaredTask = TypeVar("DeclaredTask", bound=TaskFunction)
ScheduledHandler = TypeVar("ScheduledHandler", bound=Callable[..., Awaitable[Any]])

DEFAULT_DEDUPE = 86400.0


@dataclass(frozen=True, slots=True)
class Consumer:
    """One handler and its options; times are in seconds. *schedule* is that of a handler of ticks.

    *default_dedupe* applies without *dedupe* where the database is PostgreSQL.
    """

    name: str
    handler: Handler
    body: TypeAdapter[Any]
    prefetch: int
    concurrency: int
    retry: tuple[float, ...]
    timeout: float
    dedupe: float | None
    schedule: Schedule | None = None
    default_dedupe: float | None = None
    result_ttl: float | None = None
    rate: Rate | None = None
    limit_policy: str | None = None


class ScheduleOptions(TypedDict, total=False):
    """The options of a schedule; *name* is that of the function by default."""

    name: str
    missed: MissedPolicy
    overlap: OverlapPolicy
    jitter: str | float
    retry: Sequence[str | float]
    timeout: str | float
    dedupe: str | float | None
    result_ttl: str | float | None


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message that the application publishes, for its documentation."""

    name: str
    body: TypeAdapter[Any]
    description: str


class Consumers:
    """The consumers of an application, which the file names: ``consumers = "shop.events:consumers"``."""

    def __init__(self) -> None:
        self._by_name: dict[str, Consumer] = {}
        self._published: dict[str, PublishedMessage] = {}
        self._tasks: dict[TaskFunction, DurableTask] = {}

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def published(self) -> Collection[PublishedMessage]:
        """The messages that the application has declared as published."""
        return self._published.values()

    @property
    def tasks(self) -> Mapping[TaskFunction, DurableTask]:
        """The functions that are declared as tasks."""
        return self._tasks

    def publishes(self, name: str, body: Any = Any, description: str = "") -> None:
        """Declare that the application publishes messages *name* with bodies of the type *body*, for its AsyncAPI.

        Raises ValueError for an invalid name, and for one that is declared already.
        """
        if validate_message_name(name) in self._published:
            raise ValueError(f"{name!r} is declared twice as published; declare it once, with a type of all its bodies")
        self._published[name] = PublishedMessage(name, TypeAdapter(body), description)

    def on(
        self,
        name: str,
        *,
        prefetch: int = 50,
        concurrency: int = 10,
        retry: Sequence[str | float] = ("5s", "30s", "5m"),
        timeout: str | float = "30s",
        dedupe: str | float | None = None,
        result_ttl: str | float | None = None,
        rate: str | None = None,
        limit_policy: str | None = None,
    ) -> Callable[[Decorated], Decorated]:
        """Register the decorated asynchronous function as the handler of messages *name*, delivered at least once.

        At most *concurrency* handlers run at a time, and the broker delivers up to *prefetch* messages ahead. A message
        whose handler raises or exceeds *timeout* is retried after each delay of *retry*, then becomes a dead letter.
        With *dedupe*, a message whose id was handled within that time is dropped, in the transaction of the handler's
        writes. With *result_ttl* the status of each message is kept: its progress, and for that time after its end what
        the handler returned. With *rate*, such as ``"10/s"``, each process starts no more handlers, evenly spaced; with
        *limit_policy*, a policy of the plugin ratelimit, all processes together start no more than it allows.
        Raises ValueError for invalid options, and for a name that has a consumer.
        """

        def decorate(function: Decorated) -> Decorated:
            self._add(
                Consumer(
                    validate_message_name(name),
                    _validate_handler(function),
                    TypeAdapter(body_of(function)),
                    at_least_one("prefetch", prefetch),
                    at_least_one("concurrency", concurrency),
                    tuple(to_seconds("retry", delay) for delay in retry),
                    to_positive_seconds("timeout", timeout),
                    to_optional_seconds("dedupe", dedupe),
                    result_ttl=to_optional_seconds("result_ttl", result_ttl),
                    rate=None if rate is None else Rate(rate),
                    limit_policy=limit_policy,
                )
            )
            return function

        return decorate

    @overload
    def task(self, name: DeclaredTask, /) -> DeclaredTask: ...
    @overload
    def task(self, name: str = "", **options: Unpack[TaskOptions]) -> Callable[[DeclaredTask], DeclaredTask]: ...
    def task(self, name: Any = "", **options: Unpack[TaskOptions]) -> Any:
        """Declare the decorated function as a task, which requests add to `DURABLE_TASKS`; it remains callable.

        A synchronous one runs in a thread. Each parameter has an annotation, by which pydantic validates the argument;
        one of the type `Message` receives the message. *name*, that of the messages, is the function's module and name
        by default. *options* are those of ``on``. Raises ValueError as ``on`` does, and for parameters that messages
        cannot carry.
        """

        def decorate(function: DeclaredTask) -> DeclaredTask:
            task = DurableTask(function, "" if name is function else name)
            self.on(task.name, **options)(task.handler)
            self._tasks[function] = task
            return function

        return decorate(name) if callable(name) else decorate

    def every(
        self, period: str | float, **options: Unpack[ScheduleOptions]
    ) -> Callable[[ScheduledHandler], ScheduledHandler]:
        """Run the decorated asynchronous function once for every multiple of *period* since the epoch.

        It runs once over all instances and workers; it takes no argument, or a ``Message[Tick]``. *missed* ticks
        ``run_once`` (default), ``run_all`` or ``skip``; ticks that *overlap* with the run before ``skip`` (default),
        ``queue`` or ``allow``; *jitter* delays each by up to that time. *retry*, *timeout* (default 5 minutes),
        *dedupe* (default ``"1d"`` with PostgreSQL) and *result_ttl* are those of a consumer. Raises ValueError for
        invalid options.
        """
        return self._schedule(Every(period), options)

    def cron(
        self, expression: str, tz: str = "UTC", **options: Unpack[ScheduleOptions]
    ) -> Callable[[ScheduledHandler], ScheduledHandler]:
        """Run the decorated asynchronous function at the times of a cron expression, as ``every`` does.

        Its five fields are minute, hour, day, month and weekday in the time zone *tz*.
        """
        return self._schedule(Cron(expression, tz), options)

    def _schedule(self, rule: Rule, options: ScheduleOptions) -> Callable[[ScheduledHandler], ScheduledHandler]:
        def decorate(function: ScheduledHandler) -> ScheduledHandler:
            schedule = Schedule(
                validate_message_name(options.get("name", getattr(function, "__name__", ""))),
                rule,
                options.get("missed", "run_once"),
                options.get("overlap", "skip"),
                round(to_seconds("jitter", options.get("jitter", 0)) * 1000),
            )
            self._add(
                Consumer(
                    schedule.name,
                    _tick_handler(function),
                    TypeAdapter(_tick_body(function)),
                    prefetch=10,
                    concurrency=10,
                    retry=tuple(to_seconds("retry", delay) for delay in options.get("retry", ("5s", "30s", "5m"))),
                    timeout=to_positive_seconds("timeout", options.get("timeout", "5m")),
                    dedupe=to_optional_seconds("dedupe", options.get("dedupe")),
                    schedule=schedule,
                    default_dedupe=None if "dedupe" in options else DEFAULT_DEDUPE,
                    result_ttl=to_optional_seconds("result_ttl", options.get("result_ttl")),
                )
            )
            return function

        return decorate

    def _add(self, consumer: Consumer) -> None:
        other = self._by_name.get(consumer.name)
        if other is not None:
            raise ValueError(
                f"{consumer.name!r} has two consumers, {_place(other.handler)} and {_place(consumer.handler)};"
                " handle it in one function, or publish two messages"
            )
        if consumer.prefetch < consumer.concurrency:
            raise ValueError(
                f"{consumer.name!r}: prefetch {consumer.prefetch} is less than concurrency {consumer.concurrency};"
                " raise prefetch or lower concurrency"
            )
        self._by_name[consumer.name] = consumer


def body_of(handler: Handler) -> Any:
    """Return the body type in the message annotation of *handler*, Any without one."""
    annotations = [hint for name, hint in get_type_hints(handler).items() if name != "return"]
    arguments = get_args(annotations[0]) if annotations and get_origin(annotations[0]) is Message else ()
    return arguments[0] if arguments and not isinstance(arguments[0], TypeVar) else Any


def _validate_handler(function: Any) -> Handler:
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.iscoroutinefunction(function):
        raise ValueError(f"{name} is not asynchronous; write async def")
    if len(inspect.signature(function).parameters) != 1:
        raise ValueError(f"{name} must take one argument, the message")
    handler: Handler = function
    return handler


def _tick_handler(function: Any) -> Handler:
    if inspect.iscoroutinefunction(function) and not inspect.signature(function).parameters:

        @wraps(function)
        async def handler(message: Message[Any]) -> Any:
            return await function()

        return handler
    return _validate_handler(function)


def _tick_body(function: Callable[..., Awaitable[Any]]) -> Any:
    body = body_of(function)
    return Tick if body is Any else body


def _place(function: Handler) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
