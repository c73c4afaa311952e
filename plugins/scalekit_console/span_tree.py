"""Spans of a trace, as workers describe them, as blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scalekit.pages import Block, Code, Column, DataTable, Link, Tree, TreeNode

MAX_DEPTH = 20
"""Depth of the tree that is shown: deeper spans are shown at this depth."""
MAX_STACKS = 5
"""Stack traces that are shown."""
LINKS = (Column("span"), Column("linked trace"), Column("linked span", code=True))

SpanData = Mapping[str, Any]


def span_blocks(spans: Sequence[SpanData], title: str) -> list[Block]:
    """Return the tree of *spans* of one trace, their links and the stacks of their exceptions."""
    stacks = [
        Code(attributes["exception.stacktrace"], f"Exception in {span['name']}")
        for span in spans
        for _, _, attributes in span["events"]
        if "exception.stacktrace" in attributes
    ]
    links = [
        (span["name"], Link(trace_id, "requests", {"id": trace_id}), span_id)
        for span in spans
        for trace_id, span_id in span["links"]
    ]
    linked = [DataTable(LINKS, links, "Links")] if links else []
    return [_SpanTree(spans).block(title), *linked, *stacks[:MAX_STACKS]]


class _SpanTree:
    def __init__(self, spans: Sequence[SpanData]) -> None:
        known = {span["id"] for span in spans}
        self._roots: list[SpanData] = []
        self._below: dict[str, list[SpanData]] = {}
        for span in sorted(spans, key=lambda each: (each["began"], -each["ended"])):
            (self._below.setdefault(span["parent"], []) if span["parent"] in known else self._roots).append(span)
        self._began = min((span["began"] for span in spans), default=0)

    def block(self, title: str) -> Tree:
        return Tree([self._node(root, MAX_DEPTH) for root in self._roots], title)

    def _node(self, span: SpanData, depth: int) -> TreeNode:
        below = self._below.get(span["id"], [])
        children = [self._node(child, depth - 1) for child in below] if depth else ()
        if depth == 1:
            children = [self._node(child, 0) for child in self._descendants(span)]
        offset, duration = (span["began"] - self._began) / 1e9, (span["ended"] - span["began"]) / 1e9
        return TreeNode(span["name"], offset, duration, _attributes(span), children, bool(span["error"]))

    def _descendants(self, span: SpanData) -> Iterator[SpanData]:
        waiting = self._below.get(span["id"], [])[::-1]
        while waiting:
            child = waiting.pop()
            yield child
            waiting.extend(self._below.get(child["id"], [])[::-1])


def _attributes(span: SpanData) -> dict[str, str]:
    """Return the attributes of *span*, its error, and its events with the time since its begin."""
    shown = {"kind": span["kind"], **span["attributes"], **({"error": span["error"]} if span["error"] else {})}
    for number, (name, at, attributes) in enumerate(span["events"], 1):
        values = " ".join(f"{key}={value}" for key, value in attributes.items() if key != "exception.stacktrace")
        shown[f"event {number}, after {(at - span['began']) / 1e6:.3f} ms"] = f"{name} {values}".strip()
    return shown
