"""Debug modes of applications and the interpreter are found."""

from __future__ import annotations

from typing import Any

import pytest
from django.test.utils import override_settings
from fastapi import FastAPI
from litestar import Litestar
from starlette.applications import Starlette

from scalekit import Severity, create_app
from scalekit.config.tables import Memory, Server
from scalekit.doctor.application import application_diagnostics, debug_findings, interpreter_findings, is_in_debug_mode
from tests.integration.applications import on_django

pytestmark = pytest.mark.anyio


class Wrapper:
    def __init__(self, app: Any) -> None:
        self.app = app


@pytest.mark.parametrize("make", [Starlette, FastAPI, lambda debug: Litestar([], debug=debug)])
@pytest.mark.parametrize("debug", [True, False])
def test_debug_modes_are_found_inside_of_middleware(make: Any, debug: bool) -> None:
    assert is_in_debug_mode(Wrapper(Wrapper(make(debug=debug)))) is debug


def test_the_debug_mode_of_django_is_in_its_settings() -> None:
    app = on_django.make()
    assert not is_in_debug_mode(app)
    with override_settings(DEBUG=True):
        assert is_in_debug_mode(app)


def test_a_wrapper_of_itself_ends_the_search() -> None:
    endless = Wrapper(None)
    endless.app = endless
    assert not is_in_debug_mode(endless)


def test_a_debug_mode_on_a_public_address_is_an_error() -> None:
    app = Starlette(debug=True)
    assert [each.severity for each in debug_findings(app, Server(host="0.0.0.0"))] == [Severity.ERROR]
    assert [each.severity for each in debug_findings(app, Server())] == [Severity.WARNING]


def test_modes_of_the_interpreter_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONASYNCIODEBUG", raising=False)
    assert [each.key for each in interpreter_findings(Server())] == []
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    keys = [each.key for each in interpreter_findings(Server(memory=Memory(tracemalloc=5)))]
    assert keys == ["PYTHONASYNCIODEBUG", "server.memory.tracemalloc"]


async def test_sessions_without_protection_against_forgery_are_found() -> None:
    app: Any = type("SessionMiddleware", (Wrapper,), {})(None)
    found = {}
    for plugins in ({}, {"headers": {"csrf_protection": True}}):
        (_, forgery) = application_diagnostics(create_app({"plugins": plugins}, app=app))
        found[len(plugins)] = [each.name for each in await forgery.probe()]
    assert found == {0: ["csrf"], 1: []}
