"""A Django application in one file with its ASGI handler, which does not support lifespan."""

from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path, re_path, reverse


async def show(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"path": request.path, "by name": reverse("item", args=[7]), "host": request.get_host()})


def item(request: HttpRequest, number: int) -> HttpResponse:
    return JsonResponse({"number": number})


def body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"%d" % len(request.body))


def fail(request: HttpRequest) -> HttpResponse:
    raise ValueError("it broke")


def refuse(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


urlpatterns = [
    path("", show),
    path("inner/<int:number>", item, name="item"),
    re_path(r"^old/(?P<year>[0-9]{4})/$", show),
    path("items", body),
    path("fail", fail),
    path("refuse", refuse),
]


DUMMY_BACKEND = f"{'django.tasks' if django.VERSION[0] >= 6 else 'django_tasks'}.backends.dummy.DummyBackend"
TASKS = {
    "default": {
        "BACKEND": "scalekit_queue.django.ScaleKitBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"retry": ["50ms"], "timeout": "20s", "concurrency": 2},
    }
}


def make() -> Any:
    if not settings.configured:
        settings.configure(
            SECRET_KEY="for tests", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, TASKS=TASKS
        )
        django.setup()
    return get_asgi_application()
