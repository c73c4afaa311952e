"""A Django application with tasks, whose views enqueue them and read their results."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import django
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test.utils import override_settings
from django.urls import path

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from tests.integration.applications import on_django
from tests.queue.harness import with_pool

on_django.make()
task: Callable[..., Callable[[Callable[..., Any]], Any]]
task = import_module("django.tasks" if django.VERSION[0] >= 6 else "django_tasks").task
opened = threading.Event()


@task()
def add(first: int, second: int = 0) -> int:
    return first + second


@task(queue_name="mail", takes_context=True)
async def describe(context: Any, name: str) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"name": name, "attempt": context.attempt, "status": str(context.task_result.status)}


@task()
def fail(text: str) -> None:
    raise LookupError(text)


@task()
def leave_thread() -> None:
    sys.exit(3)


@task(queue_name="mail")
async def leave_loop() -> None:
    sys.exit(3)


@task(takes_context=True)
def fail_once(context: Any) -> str:
    if context.attempt == 1:
        raise ZeroDivisionError
    return "\0".join(each.exception_class_path for each in context.task_result.errors)


@task()
def wait_opened() -> bool:
    return opened.wait(20)


@task()
def return_object() -> object:
    return object()


@task()
def enqueue_another() -> str:
    return str(add.enqueue(2, 3).id)


@task(queue_name="mail")
async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def place(request: HttpRequest) -> HttpResponse:
    """Enqueue a task from a thread."""
    return JsonResponse({"id": add.enqueue(int(str(request.GET["first"])), second=1).id})


async def place_async(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"id": (await describe.aenqueue(request.GET["name"])).id})


async def place_blocking(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"id": add.enqueue(1).id})


def show(request: HttpRequest, identifier: str) -> HttpResponse:
    result = add.get_backend().get_result(identifier)
    return JsonResponse({"status": result.status, "args": result.args, "kwargs": result.kwargs})


urlpatterns = [
    path("place", place),
    path("place-async", place_async),
    path("place-blocking", place_blocking),
    path("show/<str:identifier>", show),
]


class Application:
    """The application under the host, with a client."""

    def __init__(self, host: Host, state: dict[str, Any]) -> None:
        self.host = host
        self._state = state

    async def get(self, path: str, **options: Any) -> ReceivedResponse:
        return await request(self.host, path, state=self._state, **options)


@asynccontextmanager
async def serve(queue: dict[str, Any], target: str, **plugins: dict[str, Any]) -> AsyncGenerator[Application, None]:
    """Run the application with the tasks of the consumers *target*."""
    tables = {**with_pool(queue, plugins), "queue": {**queue, "consumers": target}}
    with override_settings(ROOT_URLCONF=__name__):
        host = create_app({"plugins": tables}, app=get_asgi_application())
        async with running(host) as state:
            yield Application(host, state)
