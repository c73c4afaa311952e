"""An application of streams, uploads and websockets, which must not be buffered or delayed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


async def release(request: Request) -> Response:
    events[request.path_params["name"]].set()
    return PlainTextResponse("released")


async def happened(request: Request) -> Response:
    return JSONResponse(events[request.path_params["name"]].is_set())


async def stream(request: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes]:
        yield b"first "
        await events["stream"].wait()
        yield b"last"

    return StreamingResponse(parts())


async def server_sent_events(request: Request) -> Response:
    async def parts() -> AsyncGenerator[str]:
        try:
            yield "data: hello\n\n"
            await asyncio.Event().wait()
        finally:
            events["sse ended"].set()

    return StreamingResponse(parts(), media_type="text/event-stream")


async def in_background(request: Request) -> Response:
    async def work() -> None:
        await events["background"].wait()
        events["background done"].set()

    return PlainTextResponse("responded", background=BackgroundTask(work))


async def upload(request: Request) -> Response:
    length = 0
    async for part in request.stream():
        length += len(part)
        if length:
            events[request.path_params["framing"]].set()
    return PlainTextResponse(str(length))


async def wait_for_disconnect(request: Request) -> Response:
    events["waiting"].set()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    events["disconnected"].set()
    return PlainTextResponse("not read")


async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="v2" if "v2" in socket.scope["subprotocols"] else None)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                events["closed by the client"].set()
                return
            if message.get("text") == "close":
                await socket.close(4001, "as you wish")
                return
            await socket.send({**message, "type": "websocket.send"})
    except WebSocketDisconnect:
        events["dropped"].set()


async def refuse(socket: WebSocket) -> None:
    await socket.send_denial_response(PlainTextResponse("not you", 401))


app = Starlette(
    routes=[
        Route("/release/{name:path}", release),
        Route("/happened/{name:path}", happened),
        Route("/stream", stream),
        Route("/sse", server_sent_events),
        Route("/background", in_background),
        Route("/upload/{framing}", upload, methods=["POST"]),
        Route("/wait", wait_for_disconnect),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/refuse", refuse),
    ]
)
