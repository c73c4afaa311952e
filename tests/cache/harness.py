"""A cache over an application that does what it is told, with a clock that is turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from starlette.types import Message, Receive, Scope, Send

from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates
from scalekit.telemetry import Telemetry
from scalekit.testing import TestResponse
from scalekit_cache.codec import HttpCodec
from scalekit_cache.filters import CacheFilter
from scalekit_cache.http_cache import CacheOptions, HttpCache
from scalekit_cache.metrics import CacheMetrics
from scalekit_cache.policies import CachePolicies, CachePolicy
from scalekit_cache.storability import StorageRules
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.shared_store import SharedStore
from scalekit_caching.store import Store
from scalekit_caching.tiered_store import TieredStore
from scalekit_caching.value_cache import ValueCache

NOON = 1_700_000_000.0
Pairs = Iterable[tuple[str, str]]


SHARED: list[Callable[[], SharedStore]] = []
"""Gives the shared store of each harness that is made, if there is one."""


class Reply:
    """What the application answers; *body* None is the number of the call."""

    def __init__(
        self, headers: Pairs = (), status: int = 200, body: bytes | None = None, error: BaseException | None = None
    ) -> None:
        self.headers = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        self.status = status
        self.body = body
        self.error = error


class Origin:
    """The application: answers with *replies* in turn, the last again and again, and remembers what it was asked.

    It answers 304 to a condition that its reply's own validators meet.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies) or [Reply()]
        self.asked: list[Scope] = []
        self.gate: asyncio.Event | None = None
        self.validates = True

    @property
    def calls(self) -> int:
        return len(self.asked)

    def header(self, name: str, call: int = -1) -> str | None:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.asked[call]["headers"] if key == wanted), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self.replies[min(self.calls, len(self.replies) - 1)]
        self.asked.append({**scope})
        number = self.calls
        if self.gate is not None:
            await self.gate.wait()
        if reply.error is not None:
            raise reply.error
        validators = {value for name, value in reply.headers if name.lower() in (b"etag", b"last-modified")}
        conditions = (b"if-none-match", b"if-modified-since")
        met = any(name in conditions and value in validators for name, value in scope["headers"])
        body = b"%d" % number if reply.body is None else reply.body
        if met and self.validates:
            await send({"type": "http.response.start", "status": 304, "headers": list(reply.headers)})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": list(reply.headers)})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class CacheHarness:
    """One cache."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        policies: Sequence[tuple[str, CachePolicy]] = (),
        *,
        size: int = 2**20,
        store: Store | None = None,
        **options: Any,
    ) -> None:
        self.now = NOON
        self.telemetry = Telemetry(1000)
        self.metrics = CacheMetrics(self.telemetry)
        self.store = store or self._new_store(size)
        chosen: dict[str, Any] = {
            "name": b"scalekit",
            "max_body": 2**16,
            "coalesce_timeout": 30.0,
            "refresh_timeout": 30.0,
            "cookies_identify": True,
            "sort_query": True,
            "storage_rules": StorageRules(),
        }
        self.cache = HttpCache(
            self.store, CachePolicies(policies), CacheOptions(**{**chosen, **options}), self.metrics, lambda: self.now
        )
        self.objects = ValueCache(self.store, self.metrics, lambda: self.now, 30.0)
        self.filter = CacheFilter(self.cache.options.credential_headers)
        self.filter.cache = self.cache
        self.serve(app)

    def _new_store(self, size: int) -> Store:
        local = MemoryStore(size)
        if not SHARED:
            return local
        return TieredStore(local, SHARED[0](), HttpCodec(), self.metrics, lambda: self.now)

    def serve(self, app: Any) -> None:
        """Let *app* stand behind the cache from now on."""
        self.chain = FilterChain([self.filter], app, RouteTemplates())

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def date(self, seconds: float = 0.0) -> str:
        """Return the HTTP date so many *seconds* from now."""
        return formatdate(self.now + seconds, usegmt=True)

    def scope(self, target: str = "/", method: str = "GET", headers: Pairs = (), **more: Any) -> Scope:
        path, _, query = target.partition("?")
        pairs = list(headers)
        host = [] if any(name.lower() == "host" for name, _ in pairs) else [("host", "shop.example")]
        return {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in [*host, *pairs]],
            "client": ("127.0.0.1", 50000),
            "server": ("shop.example", 80),
            "state": {},
            **more,
        }

    async def ask(self, target: str = "/", method: str = "GET", headers: Pairs = (), **more: Any) -> TestResponse:
        answer = TestResponse()
        await self.chain(self.scope(target, method, headers, **more), empty_body, collecting(answer))
        return answer

    async def settle(self) -> None:
        """Let what runs in the background come to its end."""
        while tasks := list(self.cache._refreshes.values()):
            await asyncio.gather(*tasks)


async def empty_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def collecting(answer: TestResponse) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = list(message["headers"])
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    return send
