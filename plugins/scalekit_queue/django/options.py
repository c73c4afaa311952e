"""The options of a backend, and the consumers that they describe."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import NoneType
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured

from scalekit import did_you_mean
from scalekit.contracts import Consumers, to_seconds
from scalekit_queue.django.call import message_name
from scalekit_queue.django.execution import END_TIMEOUT, TaskRunner

DEFAULTS: Mapping[str, Any] = {
    "concurrency": 10,
    "prefetch": 50,
    "retry": ("5s", "30s", "5m"),
    "timeout": "5m",
    "result_ttl": "1d",
    "rate": None,
    "limit_policy": None,
}
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "concurrency": ((int,), "a whole number"),
    "prefetch": ((int,), "a whole number"),
    "retry": ((list, tuple), "a list of durations"),
    "timeout": ((str, int, float), 'a duration such as "5m"'),
    "result_ttl": ((str, int, float), 'a duration such as "1d"'),
    "rate": ((str, NoneType), 'a rate such as "10/s"'),
    "limit_policy": ((str, NoneType), "the name of a policy"),
}
"""The types of the options, and their names in messages."""


def declare_consumers(consumers: Consumers, alias: str, queues: Collection[str], options: Mapping[str, Any]) -> None:
    """Add the consumer of each of *queues* of the backend *alias* to *consumers*.

    Raises ImproperlyConfigured for options that are unknown or invalid, and without queues.
    """
    for name, value in options.items():
        if name not in DEFAULTS:
            known = ", ".join(DEFAULTS)
            _refuse(alias, f"OPTIONS has no {name!r}{did_you_mean(name, DEFAULTS)}; it takes {known}")
        kinds, expected = KINDS[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            _refuse(alias, f"{name} must be {expected}, got {value!r}")
    if not queues:
        _refuse(alias, "QUEUES is empty: name the queues, since each has a consumer")
    used = {**DEFAULTS, "prefetch": max(DEFAULTS["prefetch"], options.get("concurrency", 0)), **options}
    try:
        for queue_name in sorted(queues):
            _declare(consumers, alias, queue_name, used)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"TASKS[{alias!r}]: {error}") from error


def _declare(consumers: Consumers, alias: str, queue_name: str, options: Mapping[str, Any]) -> None:
    name = message_name(alias, queue_name)
    timeout, ttl = to_seconds("timeout", options["timeout"]), to_seconds("result_ttl", options["result_ttl"])
    runner = TaskRunner(timeout, ttl, len(options["retry"]), options["concurrency"])
    # The runner ends the task itself at its time-out, so that the error is recorded.
    consumers.on(name, **{**options, "timeout": timeout + END_TIMEOUT})(runner.handler())


def _refuse(alias: str, problem: str) -> NoReturn:
    raise ImproperlyConfigured(f"TASKS[{alias!r}]: {problem}")
