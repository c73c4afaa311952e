"""The action that explains a request: it is sent within the worker that responds, and its spans are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from scalekit import Context
from scalekit.contracts import REQUEST_EXPLAINER, ExplainedRequest
from scalekit.pages import (
    ActionForm,
    ActionOutcome,
    Block,
    Cell,
    Code,
    Column,
    DataTable,
    Facts,
    FormField,
    PageAction,
    Text,
    Unit,
)
from scalekit_console.span_formatter import SpanFormatter
from scalekit_console.span_tree import span_blocks

EXPLAIN = "explain"
SAFE_METHODS = ("GET", "HEAD")
EXPLAIN_TIMEOUT = 4.0
"""Seconds of a request; the console waits for five."""
FILTERS = (Column("layer"), Column("plugin"), Column("own time", Unit.SECONDS))
URL_FIELD = FormField("url", "URL or path", required=True, placeholder="/items?limit=10")
METHOD_FIELD = FormField("method", "Method", required=True, choices=SAFE_METHODS)
CONFIRM = "Send this request now? It has no credentials, passes all filters, and its response is discarded."


def explain_form(method: str, path: str, label: str = "Explain") -> ActionForm | None:
    """Return the button that explains a request for *path*, or None for a method that is not safe."""
    explainable = method in SAFE_METHODS and path.startswith("/")
    return ActionForm(EXPLAIN, {"url": quote(path), "method": method}, label) if explainable else None


def explain_action(context: Context, formatter: SpanFormatter) -> PageAction:
    """Return the action of the page of requests."""

    async def explain(values: Mapping[str, str]) -> ActionOutcome:
        url, method = values["url"].strip(), values["method"]
        found = await context.get(REQUEST_EXPLAINER).explain(method, url, EXPLAIN_TIMEOUT)
        return ActionOutcome(f"{method} {url}: {_result(found)}", _blocks(found, formatter))

    return PageAction(EXPLAIN, "Explain a request", explain, [URL_FIELD, METHOD_FIELD], confirm=CONFIRM)


def _result(found: ExplainedRequest) -> str:
    status = f"status {found.status}" if found.status else "no response"
    return f"{status} in {found.seconds * 1e3:.1f} ms" + (f"; the response {found.cut_off}" if found.cut_off else "")


def _blocks(found: ExplainedRequest, formatter: SpanFormatter) -> Sequence[Block]:
    facts: dict[str, Cell] = {
        "status": found.status or None,
        "content": found.size,
        "duration": found.seconds,
        "cut off": found.cut_off or None,
    }
    units = {"content": Unit.BYTES, "duration": Unit.SECONDS}
    return [
        Facts(facts, "Explained request", units),
        *map(Text, found.cache_decisions),
        *span_blocks([formatter.describe(span) for span in found.spans], "Spans of the explained request"),
        *([Code(found.error, "Exception")] if found.error else []),
        DataTable(FILTERS, found.filters, "Time by filter, outermost first"),
    ]
