"""The page of the requests: by route, the failed and the slow ones of late, and one with its spans and log lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scalekit import Context
from scalekit.contracts import LATEST_LOG_LINES, TRACER, LogLine
from scalekit.pages import (
    ActionForm,
    Badge,
    Block,
    Cell,
    Code,
    Column,
    ConsolePage,
    DataTable,
    Facts,
    Link,
    Notice,
    PageAction,
    PageGroup,
    PageView,
    QueryForm,
    Text,
    Tone,
    Unit,
)
from scalekit_console.durations import PERCENTILES, percentile
from scalekit_console.explain import EXPLAIN, explain_form
from scalekit_console.recent_traces import FAILED, MAX_TRACES, SLOW, RecentTraces
from scalekit_console.request_sampler import RequestSampler
from scalekit_console.span_tree import span_blocks

ROUTES = (
    Column("method"),
    Column("route", code=True),
    Column("requests"),
    Column("errors"),
    Column("share of errors", Unit.RATIO),
    *(Column(f"p{share * 100:.0f}", Unit.SECONDS) for share in PERCENTILES),
    Column("action"),
)
TRACES = (
    Column("time", Unit.TIME),
    Column("request"),
    Column("path", code=True),
    Column("status"),
    Column("duration", Unit.SECONDS),
    Column("error"),
    Column("kept as"),
    Column("worker"),
)
LINES = (
    Column("time"),
    Column("worker"),
    Column("level"),
    Column("logger"),
    Column("event"),
    Column("fields", code=True),
)
TONES = {"warning": Tone.WARNING, "error": Tone.BAD, "critical": Tone.BAD}
FIELDS = {"id": "Request or trace id"}
ESTIMATES = (
    "There were many requests while nobody looked: their numbers are estimates from a sample. "
    "Failed requests are all counted, and for the next 10 minutes all others too."
)
NO_TRACING = "Turn on [plugins.tracing], which keeps the traces of failed and slow requests, to see them here."


class RequestsPage:
    """The page of *sampler* and *traces*, those of this worker, and of the other workers."""

    def __init__(self, context: Context, sampler: RequestSampler, traces: RecentTraces) -> None:
        self._context = context
        self._sampler = sampler
        self._traces = traces

    def page(self, actions: Sequence[PageAction]) -> ConsolePage:
        """Return the page with *actions*."""
        return ConsolePage(
            "requests",
            "Requests",
            self.render,
            self.collect,
            actions,
            group=PageGroup.SERVICE,
            description="Requests by route, failed and slow ones of late, and one with its spans and log lines.",
        )

    async def collect(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the figures and traces of this worker, or those and the lines of the request of *query*."""
        identifier = query.get("id", "").strip()
        if not identifier:
            return {"routes": self._sampler.describe_routes(), "traces": self._traces.describe()}
        lines = self._context.get(LATEST_LOG_LINES).of_request(identifier) if self._has_lines else ()
        return {"found": self._traces.find(identifier), "lines": [tuple(line) for line in lines]}

    async def render(self, view: PageView) -> Sequence[Block]:
        """Return the blocks of all requests, or of one."""
        identifier = view.query.get("id", "").strip()
        form = QueryForm(FIELDS, {"id": identifier}, "Look up")
        if identifier:
            return [form, *self._one(view, identifier)]
        traces = [(each, worker) for worker, data in view.workers.items() for each in data["traces"]]
        return [form, ActionForm(EXPLAIN), *_routes(view), *(_traces(traces) if self._traced else [Text(NO_TRACING)])]

    @property
    def _traced(self) -> bool:
        return self._context.has(TRACER)

    @property
    def _has_lines(self) -> bool:
        return self._context.has(LATEST_LOG_LINES)

    def _one(self, view: PageView, identifier: str) -> list[Block]:
        found = [(each, worker) for worker, data in view.workers.items() for each in data["found"]]
        lines = [(LogLine(*line), worker) for worker, data in view.workers.items() for line in data["lines"]]
        blocks = [
            block
            for trace_id in dict.fromkeys(each["trace_id"] for each, _ in found)
            for block in _trace([(each, worker) for each, worker in found if each["trace_id"] == trace_id])
        ]
        if not found:
            remedy = "Failed and slow requests are kept, and a share of the others." if self._traced else NO_TRACING
            blocks.append(Notice(f"No trace of {identifier} is kept.", remedy))
        return [*blocks, *(_lines(lines, with_exceptions=not found) if self._has_lines else [])]


def _routes(view: PageView) -> list[Block]:
    counts: dict[tuple[str, str], Counter[int]] = {}
    errors: Counter[tuple[str, str]] = Counter()
    for data in view.workers.values():
        for method, route, failed, buckets in data["routes"]:
            errors[method, route] += failed
            total = counts.setdefault((method, route), Counter())
            for bucket, count in buckets.items():
                total[int(bucket)] += count
    rows = [_route_row(*place, errors[place], each) for place, each in counts.items()]
    rows.sort(key=lambda row: -row[2])
    table = DataTable(ROUTES, rows, "Routes, in the last 5 to 10 minutes", empty="no requests")
    are_estimates = any(isinstance(count, float) for each in counts.values() for count in each.values())
    return [table, *([Text(ESTIMATES)] if are_estimates else [])]


def _route_row(method: str, route: str, errors: int, counts: Mapping[int, float]) -> tuple[Any, ...]:
    requests = sum(counts.values())
    percentiles = (percentile(share, counts) for share in PERCENTILES)
    explain = None if "{" in route else explain_form(method, route)
    return (method, route or "no route", round(requests), errors, errors / requests, *percentiles, explain)


def _traces(traces: Sequence[tuple[Mapping[str, Any], str]]) -> list[Block]:
    newest = sorted(traces, key=lambda each: -each[0]["began"])
    failed = [each for each in newest if each[0]["reason"] == FAILED]
    slow = sorted((each for each in newest if each[0]["reason"] == SLOW), key=lambda each: -each[0]["seconds"])
    others = [each for each in newest if each[0]["reason"] not in (FAILED, SLOW)]
    return [
        DataTable(TRACES, [_row(*each) for each in chosen[:MAX_TRACES]], title, max(0, len(chosen) - MAX_TRACES))
        for title, chosen in (("Failed lately", failed), ("Slow lately", slow), ("Others of late", others))
    ]


def _row(trace: Mapping[str, Any], worker: str) -> Sequence[Cell]:
    link = Link(trace["name"], "requests", {"id": trace["trace_id"]})
    reason = Badge(trace["reason"], {FAILED: Tone.BAD, SLOW: Tone.WARNING}.get(trace["reason"], Tone.NEUTRAL))
    shown = (trace["path"], trace["status"], trace["seconds"], trace["error"])
    return trace["began"], link, *shown, reason, worker


def _trace(found: Sequence[tuple[Mapping[str, Any], str]]) -> list[Block]:
    """Return the blocks of a trace, of which several workers, or requests, may have parts."""
    first = min((each for each, _ in found), key=lambda each: each["began"])
    facts: dict[str, Cell] = {
        "trace id": first["trace_id"],
        "request id": ", ".join(dict.fromkeys(each["request_id"] for each, _ in found)),
        "path": first["path"],
        "status": first["status"],
        "began": first["began"],
        "duration": first["seconds"],
        "kept as": first["reason"],
        "worker": ", ".join(dict.fromkeys(worker for _, worker in found)),
        "spans above the limit": sum(each["dropped"] for each, _ in found),
    }
    blocks: list[Block] = [Facts(facts, first["name"], {"began": Unit.TIME, "duration": Unit.SECONDS})]
    if any(each["cut"] for each, _ in found):
        blocks.append(Notice("The trace is large: attributes of some spans are not shown."))
    blocks += span_blocks([span for each, _ in found for span in each["spans"]], "Spans")
    again = explain_form(first["method"], first["path"], f"Explain {first['method']} {first['path']}")
    return [*blocks, again] if again else blocks


def _lines(lines: Sequence[tuple[LogLine, str]], *, with_exceptions: bool) -> list[Block]:
    ordered = sorted(lines, key=lambda each: each[0].timestamp)
    rows = [
        (line.timestamp, worker, Badge(line.level, TONES.get(line.level, Tone.NEUTRAL)), *line[2:4], line.fields)
        for line, worker in ordered
    ]
    stacks = [Code(line.exception, f"Exception at {line.timestamp}") for line, _ in ordered if line.exception]
    return [DataTable(LINES, rows, "Log lines", empty="none of late"), *(stacks if with_exceptions else [])]
