"""The operator page of schedules, for commands: GET shows them, POST pauses, resumes or triggers one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scalekit import Context, ManagementRoute, PageAccess, ProblemResponse, read_json_object
from scalekit_queue.pause_page import log_change
from scalekit_queue.schedules.description import describe_schedules
from scalekit_queue.schedules.scheduler import Scheduler
from scalekit_queue.service import SERVICE

PATH = "/-/queue-schedules"
NO_SCHEDULES = "this service has no schedules: declare one in plugins.queue.consumers or plugins.queue.schedules"
EXAMPLE = '{"action": "pause", "schedule": "nightly"}'
DONE = {"pause": "paused", "resume": "resumed", "trigger": "triggered"}


def schedule_routes(context: Context) -> Sequence[ManagementRoute]:
    """Return the route of the page, none in a service without operators."""
    server = context.server
    if not server.has_operators:
        return []
    access = PageAccess(server)

    async def page(request: Request) -> Response:
        if not access.admits(request.scope):
            return ProblemResponse(403, access.refusal(request.scope))
        scheduler = context.get(SERVICE).scheduler
        if scheduler is None:
            return ProblemResponse(404, NO_SCHEDULES)
        if request.method == "POST":
            await _change(request, scheduler)
        content = orjson.dumps(await _describe(scheduler), option=orjson.OPT_INDENT_2)
        return Response(content, 200, {"cache-control": "no-store"}, "application/json")

    return [ManagementRoute(PATH, page, methods=["GET", "POST"])]


async def change_schedule(scheduler: Scheduler, action: str, name: str) -> str:
    """Do *action*, a key of DONE, to the schedule *name*; return what was done.

    Raises ValueError for an unknown name, and for a trigger during a run.
    """
    changes = {"pause": scheduler.pause, "resume": scheduler.resume, "trigger": scheduler.trigger}
    await changes[action](name)
    return f"{DONE[action]} {name}"


async def _describe(scheduler: Scheduler) -> Mapping[str, Any]:
    try:
        return {"schedules": [asdict(each) for each in await describe_schedules(scheduler)]}
    except TimeoutError:
        raise HTTPException(503, "the states of schedules cannot be read in time; try again") from None


async def _change(request: Request, scheduler: Scheduler) -> None:
    """Change the schedule that *request* names; raises HTTPException with the remedy."""
    fields = await read_json_object(request, EXAMPLE)
    action, name = fields.get("action"), fields.get("schedule")
    if fields.keys() != {"action", "schedule"} or action not in DONE or not isinstance(name, str):
        raise HTTPException(400, f"expected a JSON object such as {EXAMPLE}")
    try:
        done = await change_schedule(scheduler, action, name)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    except TimeoutError:
        raise HTTPException(503, "the state of the schedule cannot be changed in time; try again") from None
    log_change(request, f"schedule {done}")
