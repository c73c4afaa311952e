from __future__ import annotations

from typing import Any

import pytest

from scalekit_console.access import SESSION_COOKIE
from scalekit_console.login import MAX_CLIENTS, MAX_FAILURES, LoginAttempts
from tests.console.clients import TOKEN, console_app

pytestmark = pytest.mark.anyio

ELSEWHERE: dict[str, Any] = {"operator_networks": [], "operator_token": TOKEN}


async def test_an_operator_signs_in_with_the_token_and_out() -> None:
    async with console_app({}, **ELSEWHERE) as browser:
        refused = await browser.get("/-/overview")
        assert (refused.status, refused.header("location")) == (303, "/-/login")
        assert b'type="password"' in (await browser.get("/-/login")).body
        signed_in = await browser.submit("/-/login", token=TOKEN)
        assert (signed_in.status, signed_in.header("location")) == (303, "/-/")
        cookie = next(value.decode() for name, value in signed_in.headers if name == b"set-cookie")
        assert {"HttpOnly", "Path=/-/", "SameSite=strict"} <= set(cookie.split("; "))
        assert TOKEN not in cookie
        assert b"Sign out" in (await browser.get("/-/overview")).body
        assert (await browser.submit("/-/logout")).status == 303
        assert (await browser.get("/-/overview")).status == 303


async def test_a_cookie_is_useless_after_the_sign_out() -> None:
    async with console_app({}, **ELSEWHERE) as browser:
        await browser.get("/-/login")
        await browser.submit("/-/login", token=TOKEN)
        stolen = {"cookie": f"{SESSION_COOKIE}={browser.cookies[SESSION_COOKIE]}"}
        assert (await browser.get("/-/overview", stolen)).status == 200
        await browser.submit("/-/logout")
        assert (await browser.get("/-/overview", stolen)).status == 303


async def test_a_service_that_has_started_again_has_no_sessions() -> None:
    async with console_app({}, **ELSEWHERE) as browser:
        await browser.get("/-/login")
        await browser.submit("/-/login", token=TOKEN)
        headers = {"cookie": f"{SESSION_COOKIE}={browser.cookies[SESSION_COOKIE]}"}
    async with console_app({}, **ELSEWHERE) as browser:
        assert (await browser.get("/-/overview", headers)).status == 303


@pytest.mark.parametrize("cookie", ["", ".", "..", "1.2.3", "9999999999.x.", "é.x.y", "x" * 4000])
async def test_a_forged_session_is_refused(cookie: str) -> None:
    async with console_app({}, **ELSEWHERE) as browser:
        assert (await browser.get("/-/overview", {"cookie": f"{SESSION_COOKIE}={cookie}"})).status == 303


async def test_a_client_that_guesses_must_wait() -> None:
    async with console_app({}, **ELSEWHERE) as browser:
        await browser.get("/-/login")
        for _ in range(MAX_FAILURES):
            assert (await browser.submit("/-/login", token="guess")).status == 403
        waiting = await browser.submit("/-/login", token=TOKEN)
        assert waiting.status == 429
        assert 50 < int(str(waiting.header("retry-after"))) <= 61


async def test_a_login_by_another_site_is_refused() -> None:
    async with console_app({}, **ELSEWHERE) as browser:
        await browser.get("/-/login")
        assert (await browser.submit("/-/login", {"sec-fetch-site": "cross-site"}, token=TOKEN)).status == 403
        headers = {"origin": "https://evil.example", "sec-fetch-site": None}
        refused = await browser.submit("/-/login", headers, token=TOKEN)
        assert refused.status == 403
        assert b"proxy_set_header Host $http_host" in refused.body
        assert SESSION_COOKIE not in browser.cookies


def test_failed_attempts_of_many_clients_are_bounded() -> None:
    attempts = LoginAttempts()
    for number in range(2 * MAX_CLIENTS):
        attempts.fail(str(number))
    assert len(attempts._failures) == MAX_CLIENTS


async def test_without_a_token_there_is_no_login() -> None:
    async with console_app({}) as browser:
        signs_in = b'action="/-/login"'
        assert signs_in not in (await browser.get("/-/login")).body
        assert (await browser.submit("/-/login", token="")).status != 303
        assert SESSION_COOKIE not in browser.cookies
