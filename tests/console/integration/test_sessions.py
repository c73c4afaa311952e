"""A session of an operator that four workers know, and no longer know after its end."""

from __future__ import annotations

from http.client import HTTPConnection
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from scalekit_console.access import CSRF_COOKIE, CSRF_FIELD, SESSION_COOKIE
from tests.console.clients import TOKEN
from tests.processes import HOST
from tests.workers import Supervised

SETTINGS = f"""
[server]
workers = 4
drain_delay = "0s"
operator_token = "{TOKEN}"
[plugins.console]
"""
APPLICATION = "async def app(scope, receive, send): ..."
REQUESTS = 24
"""Requests on connections of their own, enough to reach every worker."""


class SignedIn(Supervised):
    """Keeps the cookies of an operator."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, {"service": APPLICATION})
        self.cookies: dict[str, str] = {}

    def status(self, method: str, path: str, **fields: str) -> int:
        connection = HTTPConnection(HOST, self.port, timeout=30)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"accept": "text/html", "cookie": cookie, "sec-fetch-site": "same-origin"}
        headers |= {"origin": self.url, "content-type": "application/x-www-form-urlencoded"} if fields else {}
        connection.request(method, path, urlencode(fields) or None, headers)
        response = connection.getresponse()
        response.read()
        for each in response.headers.get_all("set-cookie", ()):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(each).items()}
        connection.close()
        return response.status

    def submit(self, path: str, **fields: str) -> int:
        return self.status("POST", path, **{CSRF_FIELD: self.cookies[f"{CSRF_COOKIE}_{self.port}"], **fields})

    def statuses(self) -> set[int]:
        return {self.status("GET", "/-/tasks") for _ in range(REQUESTS)}


def test_a_session_begins_and_ends_in_all_workers() -> None:
    with SignedIn() as service:
        service.status("GET", "/-/login")
        assert service.submit("/-/login", token=TOKEN) == 303
        assert service.statuses() == {200}
        cookie = service.cookies[f"{SESSION_COOKIE}_{service.port}"]
        assert service.submit("/-/logout") == 303
        service.cookies[f"{SESSION_COOKIE}_{service.port}"] = cookie
        assert service.statuses() == {303}
