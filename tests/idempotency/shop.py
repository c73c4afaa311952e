"""A service whose orders are placed once, and a client that repeats requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import create_app
from scalekit.contracts import DATABASE, SESSION, Database
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running

INSERT = "INSERT INTO orders (item) VALUES (:item)"
TABLES = {
    "sqlite": "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)",
    "postgresql": "CREATE TABLE orders (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item TEXT NOT NULL)",
}


async def place(incoming: Request) -> str:
    """Insert the item in the body."""
    item = (await incoming.body()).decode()
    await DATABASE(incoming).execute(INSERT, {"item": item})
    return item


async def order(incoming: Request) -> Response:
    async with DATABASE(incoming).transaction():
        item = await place(incoming)
    headers = {"Location": f"/orders/{item}", "Set-Cookie": "seen=1"}
    return JSONResponse({"item": item}, 201, headers)


async def fail(incoming: Request) -> Response:
    await place(incoming)
    raise RuntimeError("on purpose")


async def respond(incoming: Request) -> Response:
    await place(incoming)
    return Response("as asked", incoming.path_params["status"])


async def stream(incoming: Request) -> Response:
    item = await place(incoming)

    async def events() -> AsyncGenerator[str, None]:
        yield f"data: {item}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def large(incoming: Request) -> Response:
    await place(incoming)
    return Response(b"x" * 5000)


async def open_session(incoming: Request) -> Response:
    """Respond before the session is committed, as a dependency of FastAPI does."""
    session = SESSION(incoming)
    connection = await session.connection()
    await connection.exec_driver_sql(f"INSERT INTO orders (item) VALUES ('{(await incoming.body()).decode()}')")

    async def commit() -> None:
        if incoming.path_params["end"] == "fail":
            raise RuntimeError("on purpose")
        await session.commit()

    end = None if incoming.path_params["end"] == "forget" else BackgroundTask(commit)
    return Response(b"x" * int(incoming.query_params.get("size", 1)), background=end)


async def wait(incoming: Request) -> Response:
    """Place an order, and respond once the test lets it."""
    await place(incoming)
    incoming.app.state.waiting.set()
    await incoming.app.state.proceed.wait()
    return Response("done")


async def run_sql(incoming: Request) -> Response:
    await DATABASE(incoming).execute((await incoming.body()).decode())
    return Response("done")


class StoppedResponse(Response):
    """A response that is not completed, as a stream whose client has disconnected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})


async def stop(incoming: Request) -> Response:
    await place(incoming)
    return StoppedResponse()


async def try_sql(incoming: Request) -> Response:
    try:
        async with DATABASE(incoming).transaction():
            return await run_sql(incoming)
    except Exception:
        return Response("refused", 400)


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route("/orders", order, methods=["POST", "PUT", "GET"]),
        Route("/other", order, methods=["POST"]),
        Route("/fail", fail, methods=["POST"]),
        Route("/status/{status:int}", respond, methods=["POST"]),
        Route("/stream", stream, methods=["POST"]),
        Route("/large", large, methods=["POST"]),
        Route("/session/{end}", open_session, methods=["POST"]),
        Route("/sql", run_sql, methods=["POST"]),
        Route("/stop", stop, methods=["POST"]),
        Route("/try", try_sql, methods=["POST"]),
        Route("/wait", wait, methods=["POST"]),
    ]


class Shop:
    """The running service on *host*."""

    def __init__(self, host: Host, app: Starlette, state: Any) -> None:
        self.host = host
        self.waiting, self.proceed = asyncio.Event(), asyncio.Event()
        app.state.waiting, app.state.proceed = self.waiting, self.proceed
        self._state = state

    @property
    def database(self) -> Database:
        return self.host.context.get(DATABASE)

    async def post(
        self,
        path: str,
        key: str | None = "a",
        body: str = "tea",
        *,
        method: str = "POST",
        is_connected: bool = True,
        **headers: str,
    ) -> ReceivedResponse:
        """Send a request with *key*; the client has disconnected after it unless it *is_connected*."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            fields["idempotency-key"] = key
        app = self.host if is_connected else _without_client(self.host)
        return await request(app, path, method=method, headers=fields, body=body.encode(), state=self._state)

    async def orders(self) -> list[str]:
        """Return the items of all orders, in alphabetical order."""
        return [row.item for row in await self.database.fetch_all("SELECT item FROM orders ORDER BY item")]


@asynccontextmanager
async def open_shop(url: str, *, create: bool = True, **table: Any) -> AsyncGenerator[Shop, None]:
    """Start the service on the database at *url* with *table* of the plugin."""
    app = Starlette(routes=routes())
    pool = {"url": url, **({} if url.startswith("sqlite") else {"sslmode": "disable"})}
    host = create_app({"plugins": {"metrics": {}, "pool": pool, "idempotency": table}}, app=app)
    async with running(host) as state:
        shop = Shop(host, app, state)
        if create:
            await shop.database.execute(TABLES[shop.database.dialect])
        yield shop


def _without_client(app: ASGIApp) -> ASGIApp:
    """Return *app* for a client that disconnects after the body of its request."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        messages = [await receive()]

        async def receive_all() -> Message:
            return messages.pop() if messages else {"type": "http.disconnect"}

        await app(scope, receive_all, send)

    return serve
