from __future__ import annotations

from typing import Any

from scalekit.pages import Code, DataTable, Link, Tree, TreeNode
from scalekit_console.span_tree import MAX_DEPTH, span_blocks
from tests.console.test_html_blocks import render


def data(number: int, parent: int | str = "", **more: Any) -> dict[str, Any]:
    span = {"id": str(number), "parent": str(parent), "name": f"span {number}", "kind": "internal", "error": ""}
    return {**span, "began": number * 1000, "ended": 10**9, "attributes": {}, "events": [], "links": [], **more}


def tree_of(*spans: dict[str, Any]) -> Tree:
    tree = span_blocks(spans, "Spans")[0]
    assert isinstance(tree, Tree)
    return tree


def names(nodes: Any) -> list[Any]:
    return [(node.name, names(node.children)) if node.children else node.name for node in nodes]


def test_spans_are_nested_in_the_order_of_their_begin() -> None:
    tree = tree_of(data(3, 1), data(1, "elsewhere"), data(2, 1), data(4, 3), data(5, "other"))
    assert names(tree.roots) == [("span 1", ["span 2", ("span 3", ["span 4"])]), "span 5"]
    assert tree.roots[0].children[1].offset == 2e-6


def test_spans_of_any_depth_are_shown() -> None:
    tree = tree_of(*(data(number, number - 1 or "") for number in range(1, 1000)))
    depth, nodes, count = 0, tree.roots, 0
    while nodes:
        depth, count = depth + 1, count + len(nodes)
        nodes = [child for node in nodes for child in node.children]
    assert (depth, count) == (MAX_DEPTH + 1, 999)
    shown = render(tree)
    assert all(f">span {number}<" in shown for number in (1, MAX_DEPTH, MAX_DEPTH + 1, 500))


def test_a_tree_of_any_depth_is_cut_and_not_refused() -> None:
    node = TreeNode("innermost", 0, 1)
    for number in range(300):
        node = TreeNode(f"level {number}", 0, 1, {}, [node])
    shown = render(Tree([node]))
    assert ">level 299<" in shown
    assert ">innermost<" not in shown


def test_events_links_and_exceptions_are_shown() -> None:
    exception = {"exception.type": "ValueError", "exception.stacktrace": "Traceback: here"}
    span = data(1, events=[["exception", 2_001_000, exception]], links=[["ab", "cd"]], error="ValueError")
    tree, links, stack = span_blocks([span], "Spans")
    assert isinstance(tree, Tree)
    (root,) = tree.roots
    assert root.failed
    assert root.attributes["event 1, after 2.000 ms"] == "exception exception.type=ValueError"
    assert isinstance(links, DataTable)
    assert links.rows == [("span 1", Link("ab", "requests", {"id": "ab"}), "cd")]
    assert stack == Code("Traceback: here", "Exception in span 1")
