from __future__ import annotations

import json
from typing import Any

import litestar
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from scalekit import PluginError
from scalekit.testing import request, running
from scalekit_ratelimit import limited
from tests.ratelimit.asking import QUOTA_EXCEEDED, host, standing

pytestmark = pytest.mark.anyio

CALLS: list[str] = []


@limited("2/15m", name="login")
async def login(request: Request) -> PlainTextResponse:
    CALLS.append("login")
    return PlainTextResponse("in")


@limited("2/15m", name="login")
def login_in_a_thread(request: Request) -> PlainTextResponse:
    CALLS.append("login")
    return PlainTextResponse("in")


async def other(request: Request) -> PlainTextResponse:
    return PlainTextResponse("other")


def starlette() -> ASGIApp:
    return Starlette(routes=[Route("/login", login), Route("/other", other)])


def in_threads() -> ASGIApp:
    return Starlette(routes=[Route("/login", login_in_a_thread), Route("/other", other)])


def fastapi() -> ASGIApp:
    app = FastAPI()

    @app.get("/login")
    @limited("2/15m", name="login")
    async def fast_login(word: str = "in") -> str:
        CALLS.append("login")
        return word

    @app.get("/other")
    async def fast_other() -> str:
        return "other"

    return app


def of_litestar() -> Any:
    @litestar.get("/login")
    @limited("2/15m", name="login")
    async def lite_login() -> str:
        CALLS.append("login")
        return "in"

    @litestar.get("/other")
    async def lite_other() -> str:
        return "other"

    return litestar.Litestar([lite_login, lite_other], openapi_config=None)


@pytest.mark.parametrize("make", [starlette, in_threads, fastapi, of_litestar])
async def test_a_marked_handler_is_limited_and_the_answer_is_the_same_in_every_framework(make: Any) -> None:
    app = host({"default": "10/15m"}, make())
    del CALLS[:]
    async with running(app) as state:
        answers = [await request(app, "/login", state=state) for _ in range(3)]
        free = await request(app, "/other", state=state)
        elsewhere = await request(app, "/login", state=state, client=("203.0.113.1", 1))
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert CALLS == ["login"] * 3
    assert [standing(answer)["login"]["r"] for answer in answers] == [1, 0, 0]
    assert [standing(answer)["default"]["r"] for answer in answers] == [9, 8, 7]
    refusal = json.loads(answers[2].body)
    assert (refusal["type"], refusal["violated-policies"]) == (QUOTA_EXCEEDED, ["login"])
    assert answers[2].header("retry-after") == "450"
    assert set(standing(free)) == {"default"}
    assert elsewhere.status == 200


async def test_a_marked_handler_outside_of_a_request_is_called_as_it_is() -> None:
    assert (await login(None)).status_code == 200  # type: ignore[arg-type]


def test_marks_that_can_never_hold_are_refused() -> None:
    wrong: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        ((), {}),
        (("often",), {}),
        (("2/s",), {"cost": 3}),
        (("2/s", "2/s"), {}),
        (("2/s",), {"by": "?"}),
    ]
    for limits, more in wrong:
        with pytest.raises((ValueError, PluginError)):
            limited(*limits, **more)(login)


@pytest.mark.parametrize("by", ["IP", "Subject", "HEADER:X-Key", ["Ip", "header:x-key"]])
@pytest.mark.parametrize("algorithm", ["GCRA", "Sliding-Window"])
def test_words_are_taken_in_either_case(by: Any, algorithm: Any) -> None:
    limited("1/h", by=by, algorithm=algorithm)(other)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"by": "user"}, r'expected "ip", "subject", .* got .user.'),
        ({"by": ["ip", "header:"]}, r"expected .* got .header:."),
        ({"by": []}, "by is what each call of a handler is counted by"),
        ({"by": "code"}, "by is what each call of a handler is counted by"),
        ({"algorithm": "leaky"}, "algorithm is one of gcra, sliding-window, got .leaky."),
    ],
)
def test_a_word_that_is_none_is_told_where_it_is_written(terms: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limited("1/h", **terms)(other)
