"""The operator page of paused consumers, for commands: GET shows them, POST pauses or resumes one in all workers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scalekit import Context, Duration, ManagementRoute, PageAccess, ProblemResponse, read_json_object
from scalekit_queue.config import QueueConfig
from scalekit_queue.factory import consumes
from scalekit_queue.pauses import ConsumerPauses
from scalekit_queue.service import SERVICE

logger = logging.getLogger("scalekit.queue")

PATH = "/-/queue-pauses"
DEFAULT_PAUSE = "1h"
MAX_PAUSE = Duration("7d")
PAUSE, RESUME = "pause", "resume"
ACTIONS = (PAUSE, RESUME)
NO_CONSUMERS = "this process consumes no messages: set plugins.queue.consumers and consume_in"
EXAMPLE = '{"action": "pause", "queue": "orders", "for": "1h"}'


def parse_pause(text: object) -> Duration:
    """Return the duration *text* of a pause; raises ValueError."""
    duration = Duration(text if isinstance(text, str) else "")
    if not 0 < duration <= MAX_PAUSE:
        raise ValueError(f"for: expected a duration above zero and up to {MAX_PAUSE}, got {text!r}")
    return duration


def check_consumer(names: Collection[str], name: object) -> str:
    """Return *name*; raises ValueError when none of the consumers *names* has it."""
    if not isinstance(name, str) or name not in names:
        raise ValueError(f"no consumer of {name!r}; expected {', '.join(sorted(names))}")
    return name


def pause_routes(context: Context, config: QueueConfig) -> Sequence[ManagementRoute]:
    """Return the route of the page, none in a service without operators."""
    server = context.server
    names = [each.name for each in config.load()] if consumes(config, context) else []
    if not server.has_operators:
        return []
    access = PageAccess(server)

    async def page(request: Request) -> Response:
        if not access.admits(request.scope):
            return ProblemResponse(403, access.refusal(request.scope))
        if not names:
            return ProblemResponse(404, NO_CONSUMERS)
        pauses = context.get(SERVICE).pauses
        if request.method == "POST":
            await _change(request, pauses, names)
        content = orjson.dumps(_describe(pauses, names), option=orjson.OPT_INDENT_2)
        return Response(content, 200, {"cache-control": "no-store"}, "application/json")

    return [ManagementRoute(PATH, page, methods=["GET", "POST"])]


def _describe(pauses: ConsumerPauses, names: Sequence[str]) -> Mapping[str, Any]:
    paused = {name: remaining for name in names if (remaining := pauses.remaining(name)) is not None}
    return {"paused": {name: {"remaining_seconds": round(remaining, 1)} for name, remaining in paused.items()}}


async def _change(request: Request, pauses: ConsumerPauses, names: Sequence[str]) -> None:
    """Pause or resume the consumer that *request* names; raises HTTPException with the remedy."""
    fields = await read_json_object(request, EXAMPLE)
    if not fields.keys() <= {"action", "queue", "for"} or fields.get("action") not in ACTIONS:
        raise HTTPException(400, f"expected a JSON object such as {EXAMPLE}")
    try:
        name = check_consumer(names, fields.get("queue"))
        duration = parse_pause(fields.get("for", DEFAULT_PAUSE)) if fields["action"] == PAUSE else None
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    try:
        await (pauses.resume(name) if duration is None else pauses.pause(name, duration))
    except TimeoutError:
        raise HTTPException(503, "the supervisor does not respond; try again") from None
    log_change(request, f"the consumer of {name} " + ("resumed" if duration is None else f"paused for {duration}"))


def log_change(request: Request, event: str) -> None:
    """Log who did what, at a level that the configuration does not hide."""
    client = request.client.host if request.client else "a local socket"
    level = max(logging.WARNING, logger.getEffectiveLevel())
    logger.log(level, "%s by %s (%.100r)", event, client, request.headers.get("user-agent", ""))
