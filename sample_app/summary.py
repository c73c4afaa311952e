"""Sum up all items in the background: start it, and stream its progress to a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sample_app.events import SUMMARY
from scalekit.contracts import QUEUE, JobStatus, Queue

INTERVAL = 0.3
"""Seconds between two events."""
MAX_EVENTS = 1000


async def start_summary(request: Request) -> Response:
    """Start a summary; respond with the id of its job and the address of its progress."""
    job = await QUEUE(request).publish(SUMMARY, None)
    return JSONResponse({"job": job, "progress": f"/summaries/{job}"}, 202)


async def stream_summary(request: Request) -> Response:
    """Stream the progress as server-sent events until the summary has ended; whoever has the id may see it."""
    queue, job = QUEUE(request), request.path_params["job"]
    status = await queue.status(job)
    if status is None:
        raise HTTPException(404)
    headers = {"cache-control": "no-store"}
    return StreamingResponse(_events(queue, status), headers=headers, media_type="text/event-stream")


async def _events(queue: Queue, status: JobStatus | None) -> AsyncGenerator[bytes, None]:
    for _ in range(MAX_EVENTS):
        if status is None:
            return
        fields = {name: getattr(status, name) for name in ("state", "progress", "note", "result")}
        yield b"data: %b\n\n" % orjson.dumps(fields)
        if status.state.is_final:
            return
        await asyncio.sleep(INTERVAL)
        status = await queue.status(status.id)
