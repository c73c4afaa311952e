"""A cache in front of a scripted application, with a clock that tests advance."""

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
from scalekit.testing import ReceivedResponse
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
"""Creates the shared store of each new harness; empty without one."""


class Reply:
    """A response of the application; *body* None is the number of the call."""

    def __init__(
        self, headers: Pairs = (), status: int = 200, body: bytes | None = None, error: BaseException | None = None
    ) -> None:
        self.headers = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        self.status = status
        self.body = body
        self.error = error


class Origin:
    """The application: responds with *replies* in turn, repeating the last, and records the scopes of requests.

    It responds with 304 to a condition that the validators of its reply match.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies) or [Reply()]
        self.requests: list[Scope] = []
        self.gate: asyncio.Event | None = None
        self.validates = True

    @property
    def calls(self) -> int:
        return len(self.requests)

    def header(self, name: str, call: int = -1) -> str | None:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.requests[call]["headers"] if key == wanted), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self.replies[min(self.calls, len(self.replies) - 1)]
        self.requests.append({**scope})
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
    """One cache, its store and its application."""

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
        self.values = ValueCache(self.store, self.metrics, lambda: self.now, 30.0)
        self.filter = CacheFilter(self.cache.options.credential_headers)
        self.filter.cache = self.cache
        self.serve(app)

    def _new_store(self, size: int) -> Store:
        local = MemoryStore(size)
        if not SHARED:
            return local
        return TieredStore(local, SHARED[0](), HttpCodec(), self.metrics, lambda: self.now)

    def serve(self, app: Any) -> None:
        """Use *app* as the application from now on."""
        self.chain = FilterChain([self.filter], app, RouteTemplates())

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def date(self, seconds: float = 0.0) -> str:
        """Return the HTTP date *seconds* from now."""
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

    async def fetch(self, target: str = "/", method: str = "GET", headers: Pairs = (), **more: Any) -> ReceivedResponse:
        response = ReceivedResponse()
        await self.chain(self.scope(target, method, headers, **more), empty_body, collecting(response))
        return response

    async def settle(self) -> None:
        """Wait for the refreshes in the background."""
        while tasks := list(self.cache._refreshes.values()):
            await asyncio.gather(*tasks)


async def empty_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def collecting(response: ReceivedResponse) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = list(message["headers"])
        elif message["type"] == "http.response.body":
            response.body += message.get("body", b"")

    return send


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def start_requests(harness: CacheHarness, origin: Origin, number: int) -> list[asyncio.Task[ReceivedResponse]]:
    """Start *number* requests for one resource; the application delays them until its gate opens."""
    origin.gate = asyncio.Event()
    tasks = [asyncio.create_task(harness.fetch()) for _ in range(number)]
    await until(lambda: origin.calls)
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


class Stream:
    """An application that sends the chunks that a test puts into *parts*."""

    def __init__(self, headers: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"max-age=60"),)) -> None:
        self.headers = list(headers)
        self.parts: asyncio.Queue[tuple[bytes, bool] | BaseException] = asyncio.Queue()
        self.calls = 0
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        more = True
        while more:
            part = await self.parts.get()
            if isinstance(part, BaseException):
                raise part
            body, more = part
            await send({"type": "http.response.body", "body": body, "more_body": more})
            self.sent += 1


class Reader:
    """A client that may stop reading."""

    def __init__(self, harness: CacheHarness) -> None:
        self.response = ReceivedResponse()
        self.reads = asyncio.Event()
        self.reads.set()
        self.leaves = False
        self._collect = collecting(self.response)
        self.task = asyncio.ensure_future(harness.chain(harness.scope(), empty_body, self.send))

    async def send(self, message: Message) -> None:
        if self.leaves:
            raise OSError("the client has disconnected")
        await self.reads.wait()
        await self._collect(message)
