"""Django under ``scalekit run``: tasks outlive the processes that enqueue, run and show them."""

from __future__ import annotations

import sys
from typing import Any

import orjson

from tests.processes import Process, wait_for
from tests.service import Service

SOURCE = """
import os
import time
from functools import partial
from importlib import import_module

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connection, transaction
from django.http import JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}},
    TASKS={"default": {"BACKEND": "scalekit_queue.django.ScaleKitBackend", "OPTIONS": {"concurrency": 2}}},
)
app = get_asgi_application()

from scalekit_queue.django import task_consumers

task = import_module("django.tasks" if django.VERSION[0] >= 6 else "django_tasks").task


@task
def pay(order):
    with open(f"begun-{order}", "a") as file:
        file.write(f"{os.getpid()}\\n")
    while not os.path.exists("go"):
        time.sleep(0.02)
    with connection.cursor() as cursor:
        cursor.execute("INSERT OR IGNORE INTO payments VALUES (%s)", [order])
    return {"paid": order}


consumers = task_consumers()


def place(request, order):
    ids = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS payments (number INTEGER PRIMARY KEY)")
        transaction.on_commit(lambda: ids.append(pay.enqueue(order).id))
    return JsonResponse({"id": ids[0]})


def show(request, identifier):
    result = pay.get_result(identifier)
    value = result.return_value if result.is_finished else None
    return JsonResponse({"status": result.status, "value": value, "workers": result.worker_ids})


def payments(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM payments ORDER BY number")
        return JsonResponse({"paid": [number for number, in cursor.fetchall()]})


urlpatterns = [path("place/<int:order>", place), path("show/<str:identifier>", show), path("payments", payments)]
"""
TOML = """
[server]
drain_delay = "0s"
[plugins.queue]
consumers = "service:consumers"
consume_in = "workers"
visibility_timeout = "1s"
poll_interval = "50ms"
"""


def spawn_worker(web: Service) -> Process:
    return web.box.spawn(sys.executable, "-m", "scalekit", "run", "--only", "queue")


def get(web: Service, path: str) -> Any:
    return orjson.loads(web.get(path))


def wait_successful(web: Service, identifier: str, worker: Process) -> None:
    wait_for("the task", lambda: get(web, f"/show/{identifier}")["status"] == "SUCCESSFUL", worker)


def test_tasks_outlive_a_killed_worker_and_a_killed_web_process() -> None:
    with Service(TOML, {"service": SOURCE}) as web:
        worker = spawn_worker(web)
        ids = [get(web, f"/place/{order}")["id"] for order in range(6)]
        begun = [web.box.directory / f"begun-{order}" for order in range(2)]
        wait_for("two running tasks", lambda: all(file.exists() for file in begun), worker)
        assert get(web, f"/show/{ids[0]}")["status"] == "RUNNING"
        assert get(web, f"/show/{ids[5]}") == {"status": "READY", "value": None, "workers": []}
        web.box.kill(worker)
        web.kill()
        web.start()
        (web.box.directory / "go").touch()
        other = spawn_worker(web)
        for identifier in ids:
            wait_successful(web, identifier, other)
        shown = [get(web, f"/show/{identifier}") for identifier in ids]
        assert [each["value"] for each in shown] == [{"paid": order} for order in range(6)]
        assert [len(set(each["workers"])) for each in shown] == [2, 2, 1, 1, 1, 1]
        assert get(web, "/payments") == {"paid": list(range(6))}
