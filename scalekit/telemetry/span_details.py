"""What is added to a span while it runs: events, links, attributes and a status."""

from __future__ import annotations

from collections import deque

from scalekit.telemetry.attributes import MAX_ATTRIBUTES, Attributes

MAX_EVENTS = 128
"""Events, and links, of a span that are kept: the latest."""


class SpanDetails:
    """Additions to the name, attributes and error of a span's type; few spans have any.

    ``events`` are names, times of :func:`time.perf_counter` and attributes. ``links`` are trace and span ids. ``name``
    replaces that of the type. ``error`` is the type of an error that the span's record does not have, and
    ``error_message`` describes it. ``is_ok`` is whether the span was declared successful.
    """

    __slots__ = ("attributes", "error", "error_message", "events", "is_ok", "links", "name")

    def __init__(self) -> None:
        self.events: deque[tuple[str, float, Attributes]] | None = None
        self.links: deque[tuple[str, str]] | None = None
        self.attributes: Attributes = {}
        self.name = ""
        self.error = ""
        self.error_message = ""
        self.is_ok = False

    def add_event(self, name: str, at: float, attributes: Attributes) -> Attributes:
        """Add an event; return the attributes of the event that it removes."""
        if self.events is None:
            self.events = deque(maxlen=MAX_EVENTS)
        removed = self.events[0][2] if len(self.events) == MAX_EVENTS else {}
        self.events.append((name, at, attributes))
        return removed

    def add_link(self, trace_id: str, span_id: str) -> None:
        """Add a link."""
        if self.links is None:
            self.links = deque(maxlen=MAX_EVENTS)
        self.links.append((trace_id, span_id))

    def set_attributes(self, attributes: Attributes) -> Attributes:
        """Set *attributes*, and return those that are replaced, or not set: further names than MAX_ATTRIBUTES."""
        own, unset = self.attributes, {}
        for name, value in attributes.items():
            if name in own or len(own) < MAX_ATTRIBUTES:
                if name in own:
                    unset[name] = own[name]
                own[name] = value
            else:
                unset[name] = value
        return unset
