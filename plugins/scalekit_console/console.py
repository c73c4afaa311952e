"""Responds to requests for pages, live streams and actions."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from scalekit import Context, ProblemResponse, Unavailable
from scalekit.contracts import OVERRIDES
from scalekit.pages import CONSOLE_PAGES, Block, ConsolePage, Notice, PageAction, Tone, WorkerResult
from scalekit_console.access import CSRF_FIELD, ConsoleAccess, Operator, forgery
from scalekit_console.assets import Assets
from scalekit_console.config import ConsoleConfig
from scalekit_console.elements import Html, element
from scalekit_console.forms import check_values, query_of, read_form, read_json
from scalekit_console.html_blocks import BlockRenderer, render_notice
from scalekit_console.layout import Layout, html_response
from scalekit_console.live_feed import LiveFeeds
from scalekit_console.login import LoginPages
from scalekit_console.sanitizer import Sanitizer
from scalekit_console.sessions import GROUP, OperatorSessions

logger = logging.getLogger("scalekit.console")

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
FAILED = Notice("The page failed.", "See the log.", Tone.BAD)
LIVE_TOKEN = "of the page"
"""Stands for the CSRF token in live pages, which all operators of a worker share; the script replaces it."""
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class ConsoleServer:
    """The console of one application."""

    def __init__(self, context: Context, config: ConsoleConfig) -> None:
        self.pages = context.get(CONSOLE_PAGES)
        sessions = OperatorSessions(context.server, config.session_ttl, context.get(OVERRIDES).group(GROUP))
        self.access = ConsoleAccess(context.server, config.session_ttl, sessions)
        self.assets = Assets()
        self.feeds = LiveFeeds()
        self._layout = Layout(self.pages, self.assets, context.name)
        self.login = LoginPages(self.access, self._layout)
        self._sanitizer = Sanitizer(context)
        self._acts = config.actions

    async def respond(self, request: Request, name: str) -> Response:
        """Return the page *name* as HTML to browsers, else as JSON."""
        operator = self.access.identify(request)
        if operator is None:
            return self._refuse(request)
        page = self.pages.pages[name]
        if not _wants_html(request):
            return await self.respond_with_json(request, name)
        blocks, status = await self.blocks(page, query_of(request))
        return self._show(request, page, operator, blocks, status)

    async def respond_with_json(self, request: Request, name: str) -> Response:
        """Return the page *name* as JSON."""
        if self.access.identify(request) is None:
            return self._refuse(request)
        page = self.pages.pages[name]
        blocks, status = await self.blocks(page, query_of(request))
        return _json({"page": name, "title": page.title, "blocks": blocks_as_json(blocks)}, status)

    async def stream(self, request: Request, name: str) -> Response:
        """Return the stream of the live page *name*."""
        if self.access.identify(request) is None:
            return self._refuse(request)
        if request.method == "HEAD":
            return Response(None, 200, STREAM_HEADERS, "text/event-stream")
        if self.feeds.full:
            return ProblemResponse(503, "too many streams are open in this worker", headers={"retry-after": "5"})
        page, query = self.pages.pages[name], query_of(request)

        async def render() -> str:
            blocks, _ = await self.blocks(page, query)
            return self._render(request, page, blocks, LIVE_TOKEN if self._acts else "")[0]

        events = self.feeds.events(f"{name}?{urlencode(query)}", render)
        return StreamingResponse(events, headers=STREAM_HEADERS, media_type="text/event-stream")

    async def act(self, request: Request, page: ConsolePage, action: PageAction) -> Response:
        """Run *action* of *page* with the values of the request, and return the page with its results."""
        operator = self.access.identify(request)
        if operator is None:
            return self._refuse(request)
        if not self._acts:
            return ProblemResponse(403, "actions are off: set plugins.console.actions = true")
        sends_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
        values = await (read_json if sends_json else read_form)(request)
        token = None if sends_json else values.pop(CSRF_FIELD, "")
        if operator.by != "token" and (reason := forgery(request, token)):
            return ProblemResponse(403, reason)
        results = await self._run(operator, page, action, check_values(action, values))
        failed = any(result.failed for result in results)
        if sends_json:
            return _json({"results": [_as_json(result) for result in results]}, 422 if failed else 200)
        shown = [block for result in results for block in (_notice(result, len(results)), *result.blocks)]
        blocks, status = await self.blocks(page, {})
        return self._show(request, page, operator, blocks, 422 if failed else status, results=shown)

    async def _run(
        self, operator: Operator, page: ConsolePage, action: PageAction, values: Mapping[str, str]
    ) -> list[WorkerResult]:
        try:
            results = [self._safe(each) for each in await self.pages.act(page, action, values)]
        except Unavailable as error:
            results = [WorkerResult("", self._sanitizer.text(error.detail), failed=True)]
        except TimeoutError:
            results = [WorkerResult("", "the action took too long; it may still take effect", failed=True)]
        except Exception:
            logger.exception("the action %s of the page %s failed", action.name, page.name)
            results = [WorkerResult("", "the action failed; see the log", failed=True)]
        self._audit(operator, f"{page.name}/{action.name}", values, results)
        return results

    def _safe(self, result: WorkerResult) -> WorkerResult:
        """Return *result* as it may be shown."""
        message, blocks = self._sanitizer.text(result.message), self._sanitizer.blocks(result.blocks)
        return WorkerResult(result.worker, message, result.failed, blocks)

    def _audit(self, operator: Operator, name: str, values: Mapping[str, str], results: Sequence[WorkerResult]) -> None:
        """Log who did what in one line, at a level that the configuration does not hide."""
        shown = self._sanitizer.text(" ".join(f"{key}={value!r}" for key, value in values.items() if value))
        logger.log(
            max(logging.WARNING, logger.getEffectiveLevel()),
            "action %s %s by %s (%s): %s",
            name,
            shown or "without values",
            operator.client,
            operator.by,
            " ".join("; ".join(f"{'failed: ' if each.failed else ''}{each.message}" for each in results)[:500].split()),
        )

    async def blocks(self, page: ConsolePage, query: Mapping[str, str]) -> tuple[list[Block], int]:
        """Return the blocks of *page*, safe to show, and the status of the response."""
        try:
            view, blocks = await self.pages.render(page, query)
            return self._sanitizer.blocks([*map(_missing, view.missing), *blocks]), 200
        except TimeoutError:
            return [Notice("The page took too long.", "Try again.", Tone.BAD)], 503
        except Unavailable as error:
            return self._sanitizer.blocks([Notice(error.detail, "", Tone.BAD)]), 503
        except Exception:
            logger.exception("the page %s failed", page.name)
            return [FAILED], 500

    def _show(
        self,
        request: Request,
        page: ConsolePage,
        operator: Operator,
        blocks: Sequence[Block],
        status: int,
        *,
        results: Sequence[Block] = (),
    ) -> Response:
        token = self.access.csrf_token(request)
        content, status = self._render(request, page, blocks, token if self._acts else "", status)
        if page.live:
            events = f"{self._layout.base(request)}{page.name}/events"
            query = f"?{urlencode(query_of(request))}" if request.query_params else ""
            content = element("div", content, id="live", data_events=events + query, data_csrf=token)
        # Live renderings replace only the content.
        above, status = self._render(request, page, results, token if self._acts else "", status)
        response = html_response(self._layout.page(request, page, operator, [above, content], token), status)
        self.access.set_csrf_cookie(response, request, token)
        return response

    def _render(
        self, request: Request, page: ConsolePage, blocks: Sequence[Block], csrf_token: str, status: int = 200
    ) -> tuple[Html, int]:
        """Return the markup of *blocks*, whose types a plugin may have mixed up, and the status of the response."""
        try:
            return BlockRenderer(page, self._layout.base(request), csrf_token).render(blocks), status
        except Exception:
            logger.exception("the page %s failed", page.name)
            return render_notice(FAILED), 500

    def _refuse(self, request: Request) -> Response:
        if self.access.has_login and _wants_html(request) and request.method == "GET":
            return RedirectResponse(f"{self._layout.base(request)}login", 303, {"cache-control": "no-store"})
        return ProblemResponse(403, self.access.refusal(request))


def _missing(worker: str) -> Notice:
    return Notice(f"Worker {worker} did not respond in time, or failed.", "See the log.")


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _json(content: object, status: int) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(orjson.dumps(content), status, headers, "application/json")


def _as_json(result: WorkerResult) -> dict[str, object]:
    described = {"worker": result.worker, "message": result.message, "failed": result.failed}
    return {**described, "blocks": blocks_as_json(result.blocks)} if result.blocks else described


def _notice(result: WorkerResult, count: int) -> Notice:
    text = f"Worker {result.worker}: {result.message}" if count > 1 else result.message
    return Notice(text, "", Tone.BAD if result.failed else Tone.GOOD)


def blocks_as_json(blocks: Sequence[Block]) -> list[Any]:
    """Return *blocks*, which have passed the sanitizer, as values that JSON can represent; each has its ``type``."""
    return [_json_value(block) for block in blocks]


def _json_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: _json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(each) for each in value]
    if dataclasses.is_dataclass(value):
        fields = {field.name: _json_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": _CAPITAL.sub("_", type(value).__name__).lower(), **fields}
    if isinstance(value, float):
        return float(value)  # orjson refuses subclasses, such as a Duration of the configuration
    return value
