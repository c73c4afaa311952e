"""The login with the operator's token, for browsers, which send no bearer token."""

from __future__ import annotations

import logging
from collections import OrderedDict
from time import monotonic

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scalekit import Unavailable
from scalekit.pages import Notice, Tone
from scalekit_console.access import CSRF_FIELD, ConsoleAccess, forgery
from scalekit_console.elements import element
from scalekit_console.forms import read_form
from scalekit_console.html_blocks import render_notice
from scalekit_console.layout import Layout, html_response

logger = logging.getLogger("scalekit.console")

MAX_FAILURES = 5
"""Failed logins of a client, after which it waits until FAILURE_WINDOW has passed."""
FAILURE_WINDOW = 60.0
MAX_CLIENTS = 1_000
"""Clients whose failed logins are counted; the oldest is forgotten first."""


class LoginAttempts:
    """The failed logins of each client within FAILURE_WINDOW."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Return the seconds until *client* may try again."""
        since, count = self._failures.get(client, (0.0, 0))
        return max(0.0, since + FAILURE_WINDOW - monotonic()) if count >= MAX_FAILURES else 0.0

    def fail(self, client: str) -> None:
        """Count a failed login of *client*."""
        since, count = self._failures.pop(client, (0.0, 0))
        now = monotonic()
        self._failures[client] = (since, count + 1) if count and now < since + FAILURE_WINDOW else (now, 1)
        if len(self._failures) > MAX_CLIENTS:
            self._failures.popitem(last=False)


class LoginPages:
    """The pages ``/-/login`` and ``/-/logout``."""

    def __init__(self, access: ConsoleAccess, layout: Layout) -> None:
        self._access = access
        self._layout = layout
        self._attempts = LoginAttempts()

    async def show(self, request: Request) -> Response:
        """Return the form."""
        return self._form(request)

    async def submit(self, request: Request) -> Response:
        """Start a session when the form has the token, and lead to the index."""
        form = await read_form(request)
        if reason := forgery(request, form.get(CSRF_FIELD, "")):
            return self._form(request, 403, Notice("Not signed in.", reason, Tone.BAD))
        client = request.client.host if request.client else ""
        if wait := self._attempts.wait(client):
            notice = Notice("Too many failed attempts.", f"Try again in {wait:.0f} seconds.", Tone.BAD)
            response = self._form(request, 429, notice)
            response.headers["retry-after"] = str(round(wait) + 1)
            return response
        if not self._access.check_token(form.get("token", "")):
            self._attempts.fail(client)
            logger.warning("login to the console with a wrong token by %s", client or "a local socket")
            return self._form(request, 403, Notice("This is not the token of an operator.", "", Tone.BAD))
        response = RedirectResponse(self._layout.base(request), 303)
        try:
            await self._access.start_session(response, request)
        except Unavailable as error:
            return self._form(request, 503, Notice("Not signed in.", error.detail, Tone.BAD))
        logger.warning("login to the console by %s", client or "a local socket")
        return response

    async def end(self, request: Request) -> Response:
        """End the session in all workers, and lead to the form."""
        if reason := forgery(request, (await read_form(request)).get(CSRF_FIELD, "")):
            return self._form(request, 403, Notice("Not signed out.", reason, Tone.BAD))
        response = RedirectResponse(f"{self._layout.base(request)}login", 303)
        try:
            await self._access.end_session(response, request)
        except Unavailable as error:
            return self._form(request, 503, Notice("Not signed out.", error.detail, Tone.BAD))
        logger.warning("sign-out from the console by %s", request.client.host if request.client else "a local socket")
        return response

    def _form(self, request: Request, status: int = 200, notice: Notice | None = None) -> Response:
        token = self._access.csrf_token(request)
        form = element(
            "form",
            element("input", type="hidden", name=CSRF_FIELD, value=token),
            element("label", "Token of operators (server.operator_token)", for_="token"),
            element("input", type="password", name="token", id="token", required=True, autocomplete="current-password"),
            element("button", "Sign in"),
            method="post",
            action=f"{self._layout.base(request)}login",
            class_="login",
        )
        content = [render_notice(notice) if notice else None, form]
        response = html_response(self._layout.plain(request, "Sign in", content), status)
        self._access.set_csrf_cookie(response, request, token)
        return response
