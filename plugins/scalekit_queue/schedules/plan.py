"""The schedules of a service: those of the application's consumers, and those of the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from scalekit import StartError, encode_json
from scalekit.contracts import Consumer
from scalekit_queue.schedules.config import ScheduleConfig
from scalekit_queue.schedules.decision import ScheduledMessage

MAX_SCHEDULES = 1000
MAX_QUEUED = 300.0
"""Seconds that the message of a tick may wait in the queue before its run counts as lost."""


class SchedulesConfig(Protocol):
    """The part of the configuration that has schedules."""

    @property
    def prefix(self) -> str:
        """The prefix of the service."""
        ...

    @property
    def schedules(self) -> Sequence[ScheduleConfig]:
        """The schedules of the file."""
        ...

    def load(self) -> Iterable[Consumer]:
        """Return the consumers of the application."""
        ...


def plan_schedules(config: SchedulesConfig, has_transactions: bool) -> list[ScheduledMessage]:
    """Return the schedules of the consumers and of the file; raises StartError with the remedy for what cannot work.

    *has_transactions* is whether the state of a schedule and a message can be stored in one transaction.
    """
    by_name = {each.name: each for each in config.load()}
    planned = {name: _of_code(each) for name, each in by_name.items() if each.schedule is not None}
    for each in config.schedules:
        planned[each.name] = _of_file(each, by_name)
    if planned and not has_transactions:
        raise StartError(
            f"the schedule {next(iter(planned))!r} needs a database, in which its ticks are claimed, when the queue is"
            ' RabbitMQ: turn on [plugins.pool] and set outbox = true, or set url = "sqlite:///queue.db"'
        )
    if len(planned) > MAX_SCHEDULES:
        raise StartError(f"there are {len(planned)} schedules, at most {MAX_SCHEDULES} are allowed; join some")
    return [replace(each, prefix=config.prefix) for each in planned.values()]


def _of_code(consumer: Consumer) -> ScheduledMessage:
    if consumer.schedule is None:
        raise ValueError(f"the consumer {consumer.name!r} has no schedule")
    return ScheduledMessage(consumer.schedule, consumer.name, None, _max_run(consumer))


def _of_file(config: ScheduleConfig, consumers: Mapping[str, Consumer]) -> ScheduledMessage:
    message = config.message or config.name
    consumer = consumers.get(message)
    if consumer is None and config.overlap != "allow":
        raise StartError(
            f"the schedule {config.name!r} publishes {message!r}, which no consumer of this service handles, so that"
            ' the end of a run is unknown: set overlap = "allow", or correct message'
        )
    body = None if config.body is None else encode_json(config.body)
    return ScheduledMessage(config.schedule(), message, body, 0 if consumer is None else _max_run(consumer))


def _max_run(consumer: Consumer) -> int:
    attempts = len(consumer.retry) + 1
    return round((consumer.timeout * attempts + sum(consumer.retry) + MAX_QUEUED) * 1000)
