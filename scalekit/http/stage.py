"""The bound methods of a chain's filters for one scope type: requests or websockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scalekit.http.filter import Decision, Filter
from scalekit.http.header_index import HeaderNames
from scalekit.http.route_template import RouteTemplates

Hook = Callable[[Any], None]
Completion = Callable[[Any, BaseException | None], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """The bound methods of filters in the order of their calls.

    ``decisions`` are called from the outermost filter on; ``places`` are the positions of their filters in the chain,
    and ``early`` is true for those that run while decisions are pending. The other methods are by depth, the number of
    filters that take part in a request: all when the application serves it, else those outside of the filter that did.
    """

    decisions: Sequence[Callable[[Any], Decision]]
    places: Sequence[int]
    early: Sequence[bool]
    applications: Sequence[Sequence[Hook]]
    response_starts: Sequence[Sequence[Hook]]
    completions: Sequence[Sequence[Completion]]
    indexed_names: HeaderNames
    templates: RouteTemplates


def request_stage(filters: Sequence[Filter], names: HeaderNames, templates: RouteTemplates) -> Stage:
    """Return the stage of *filters* for HTTP requests."""
    return _stage(filters, "on_request", "on_complete", names, templates)


def websocket_stage(filters: Sequence[Filter], names: HeaderNames, templates: RouteTemplates) -> Stage:
    """Return the stage of *filters* for websockets."""
    return _stage(filters, "on_open", "on_close", names, templates)


def _stage(
    filters: Sequence[Filter], decide: str, complete: str, names: HeaderNames, templates: RouteTemplates
) -> Stage:
    deciding = [(place, each) for place, each in enumerate(filters) if _has(each, decide)]
    return Stage(
        [getattr(each, decide) for _, each in deciding],
        [place for place, _ in deciding],
        [each.runs_while_pending for _, each in deciding],
        _by_depth(filters, "on_application", inwards=True),
        _by_depth(filters, "on_response_start", inwards=False),
        _by_depth(filters, complete, inwards=False),
        names,
        templates,
    )


def _by_depth(filters: Sequence[Filter], name: str, *, inwards: bool) -> list[Sequence[Any]]:
    """Return the methods *name* of the filters that take part, by depth, in the order of their calls."""
    found: list[Sequence[Any]] = []
    for depth in range(len(filters) + 1):
        methods = [getattr(each, name) for each in filters[:depth] if _has(each, name)]
        found.append(tuple(methods if inwards else methods[::-1]))
    return found


def _has(each: Filter, name: str) -> bool:
    """Return whether the class of *each* overrides the method *name*."""
    return getattr(type(each), name) is not getattr(Filter, name)
