from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import StartError
from scalekit.app_lifespan import app_lifespan, verify_lifespan
from scalekit.config.tables import Server
from scalekit.context import Context
from scalekit.errors import ApplicationStartError, StopError

pytestmark = pytest.mark.anyio


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("only http here")


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def reads_and_raises(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    if message["type"] != "http.request":
        raise ValueError("what was that?")


async def answers_http(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def raises_otherwise(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    else:
        raise ValueError("what was that?")


@pytest.mark.parametrize("app", [raises, returns, reads_and_raises, raises_otherwise, answers_http])
async def test_an_application_without_lifespan_is_served_without(app: ASGIApp) -> None:
    async with app_lifespan(app, {}):
        pass


async def breaks_in_its_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ValueError("no licence")


async def breaks_otherwise(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        licence = ""
        if licence:
            await send({"type": "lifespan.startup.complete"})
        else:
            raise ValueError("no licence")


async def misses_a_setting(scope: Scope, receive: Receive, send: Send) -> None:
    settings: dict[str, str] = {}
    await send({"type": settings["server"]})


async def misses_a_server(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("Error: no licence at https://licences.example")


async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("no licence")


async def reads_and_breaks(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise ValueError("no licence")


async def misses_an_attribute(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise AttributeError("no licence")


async def asserts_something_else(scope: Scope, receive: Receive, send: Send) -> None:
    licence = ""
    assert licence, "no licence"


READING = (reads_and_breaks, breaks_in_its_lifespan, breaks_otherwise)


@pytest.mark.parametrize("app", [breaks, *READING, misses_an_attribute, misses_a_server, asserts_something_else])
async def test_an_application_that_is_broken_does_not_start(app: ASGIApp) -> None:
    starts = [app_lifespan(app, {})] if app in READING else [app_lifespan(app, {}), verifying(app)]
    for start in starts:
        with pytest.raises(ApplicationStartError, match=r"(?s)Error: no licence.*test_app_lifespan.py:\d+") as failure:
            async with start:
                pass
        assert failure.value.__cause__ is not None


async def test_a_key_error_of_a_missing_setting_fails_the_start() -> None:
    with pytest.raises(ApplicationStartError, match=r"KeyError: 'server' .*test_app_lifespan.py:\d+"):
        async with app_lifespan(misses_a_setting, {}):
            pass


@pytest.mark.parametrize("app", [raises, returns, reads_and_raises, raises_otherwise, answers_http])
async def test_verification_sends_no_lifespan_event(app: ASGIApp) -> None:
    async with verifying(app):
        pass


@asynccontextmanager
async def verifying(app: ASGIApp) -> AsyncGenerator[None]:
    await verify_lifespan(app, Context(Server(), {}), 60)
    yield


async def test_the_application_receives_events_in_order_and_adds_to_the_state() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.append((await receive())["type"])
        scope["state"]["x"] = 1
        await send({"type": "lifespan.startup.complete"})
        received.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    state: dict[str, Any] = {}
    async with app_lifespan(app, state):
        assert state == {"x": 1}
        assert received == ["lifespan.startup"]
    assert received == ["lifespan.startup", "lifespan.shutdown"]


async def test_a_failed_start_is_reported_with_the_applications_message() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no licence"})

    with pytest.raises(StartError, match="no licence"):
        async with app_lifespan(app, {}):
            pytest.fail("it did not start")


async def test_a_starlette_application_that_fails_to_start_is_reported_with_its_traceback() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        if app is not None:
            raise OSError("disk full")
        yield

    with pytest.raises(StartError, match="OSError: disk full") as failure:
        async with app_lifespan(Starlette(lifespan=lifespan), {}):
            pytest.fail("it did not start")
    assert isinstance(failure.value.__cause__, OSError)


async def test_a_failed_stop_is_reported_with_the_applications_message() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    with pytest.raises(StopError, match=r"^still busy$"):
        async with app_lifespan(app, {}):
            pass


async def test_a_lifespan_that_raises_while_served_is_logged_and_does_not_hang_the_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ValueError("gone")

    async with app_lifespan(app, {}):
        await asyncio.sleep(0)
    assert "the application's lifespan failed" in caplog.text
    assert "ValueError: gone" in caplog.text


async def test_a_task_of_a_starlette_application_that_fails_while_served_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ValueError("the feed is gone")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            yield

    async with app_lifespan(Starlette(lifespan=lifespan), {}):
        await asyncio.sleep(0.01)
    assert "the application's lifespan failed" in caplog.text
    assert "the feed is gone" in caplog.text


async def test_an_error_of_the_stop_keeps_its_type() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ValueError("gone")

    with pytest.raises(ValueError, match=r"^gone$"):
        async with app_lifespan(app, {}):
            pass


async def test_a_lifespan_that_returns_early_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async with asyncio.timeout(60), app_lifespan(app, {}):
        await asyncio.sleep(0)
    assert caplog.text == ""


async def test_a_starlette_application_that_fails_to_stop_raises_its_own_error() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        yield
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"^disk full$"):
        async with app_lifespan(Starlette(lifespan=lifespan), {}):
            pass


async def exits_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise SystemExit("no licence")


async def exits_when_told_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise SystemExit("no licence")


@asynccontextmanager
async def exiting(app: Starlette) -> AsyncGenerator[None, None]:
    raise SystemExit("no licence")
    yield


@pytest.mark.parametrize("app", [exits_at_once, exits_when_told_to_start, Starlette(lifespan=exiting)])
async def test_an_application_that_exits_at_its_start_does_not_start(app: ASGIApp) -> None:
    with pytest.raises(ApplicationStartError, match="SystemExit: no licence"):
        async with app_lifespan(app, {}):
            pass


async def test_verification_reports_an_application_that_exits() -> None:
    with pytest.raises(ApplicationStartError, match=r"SystemExit: no licence \(.*test_app_lifespan.py:\d+\)"):
        await verify_lifespan(exits_at_once, Context(Server(), {}), 60)


async def test_an_application_that_exits_at_its_stop_has_failed_to_stop() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise SystemExit(3)

    with pytest.raises(StopError, match="SystemExit: 3"):
        async with app_lifespan(app, {}):
            pass


@pytest.mark.parametrize("message", [{}, {"message": None}, {"message": " "}])
async def test_a_failed_start_without_a_message_is_reported_with_its_exception(message: dict[str, Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", **message})
        raise LookupError("no row 7")

    with pytest.raises(ApplicationStartError, match=r"LookupError: no row 7 \(.*test_app_lifespan.py:\d+\)"):
        async with app_lifespan(app, {}):
            pass


async def test_a_failed_start_without_message_and_exception_is_reported_by_its_event() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": None})

    with pytest.raises(ApplicationStartError, match=r"lifespan\.startup\.failed"):
        async with app_lifespan(app, {}):
            pass
