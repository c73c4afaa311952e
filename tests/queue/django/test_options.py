"""The options of a backend are those of its consumers, and its mistakes are told by Django's checks."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings

from scalekit.contracts import Consumers
from scalekit_queue.django import ScaleKitBackend, task_consumers
from scalekit_queue.django.options import declare_consumers
from tests.integration.applications import on_django

on_django.make()


def test_each_queue_of_each_backend_has_a_consumer() -> None:
    backend = "scalekit_queue.django.ScaleKitBackend"
    slow = {"BACKEND": backend, "QUEUES": ["video"], "OPTIONS": {"timeout": "1h", "retry": [], "concurrency": 100}}
    other = {"BACKEND": on_django.DUMMY_BACKEND}
    own = Consumers()
    with override_settings(TASKS={"default": {"BACKEND": backend}, "slow": slow, "other": other}):
        assert task_consumers(own) is own
    first, second = own
    assert (first.name, first.retry, first.concurrency, first.result_ttl) == (
        "django.default.default",
        (5.0, 30.0, 300.0),
        10,
        86400.0,
    )
    assert (second.name, second.retry, second.concurrency, second.prefetch) == ("django.slow.video", (), 100, 100)
    assert second.timeout > 3600


def test_settings_without_a_backend_are_refused() -> None:
    with (
        override_settings(TASKS={"default": {"BACKEND": on_django.DUMMY_BACKEND}}),
        pytest.raises(ImproperlyConfigured, match="no backend of TASKS is a ScaleKitBackend"),
    ):
        task_consumers()


@pytest.mark.parametrize(
    ("queues", "options", "problem"),
    [
        ({"default"}, {"retries": []}, "OPTIONS has no 'retries'; did you mean 'retry'"),
        ({"default"}, {"timeout": "soon"}, "soon"),
        ({"default"}, {"timeout": None}, "timeout must be a duration such as"),
        ({"default"}, {"concurrency": 0}, "concurrency must be at least 1, got 0"),
        ({"default"}, {"concurrency": "many"}, "concurrency must be a whole number, got 'many'"),
        ({"default"}, {"retry": 5}, "retry must be a list of durations, got 5"),
        ({"default"}, {"retry": "5s"}, "retry must be a list of durations, got '5s'"),
        ({"default"}, {"dedupe": "1d"}, "OPTIONS has no 'dedupe'"),
        ({"no name"}, {}, "django.default.no name"),
        (set(), {}, "QUEUES is empty"),
    ],
)
def test_mistakes_are_told_with_the_backend(queues: set[str], options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"TASKS\['default'\]: .*" + problem):
        declare_consumers(Consumers(), "default", queues, options)
    backend = ScaleKitBackend("default", {"QUEUES": queues, "OPTIONS": options})
    (message,) = backend.check()
    assert (problem in message.msg, message.id) == (True, "scalekit_queue.E001")


def test_a_valid_backend_has_no_mistake() -> None:
    assert list(ScaleKitBackend("default", {}).check()) == []
