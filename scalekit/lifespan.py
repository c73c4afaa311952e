"""The start and stop of a plugin, with the resources that it provides and requires."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from scalekit.context import AnyKey

Run = Callable[[], AbstractAsyncContextManager[None]]
Callback = Callable[[], Awaitable[None]]
Verify = Callable[[Container[AnyKey]], None]


@dataclass(frozen=True, slots=True)
class Lifespan:
    """A plugin's start and stop, and the resources that it provides and requires.

    The context manager of *run* starts the plugin on entry and stops it on exit. The plugin provides the keys of
    *provides* while it runs. It starts after the providers of *requires*, which must exist, and of *after*, which are
    optional, and before the providers of *before*, which must exist. *required_by_key* names, for messages, the key of
    the plugin's table that requires a resource.

    *ready* is called once all plugins have started, except in commands, which serve no requests; *drain* when the
    process begins to drain and still serves requests. An *outermost* plugin requires no other, starts first and stops
    last, so that it can report on the others. *series_budget* is set by exporters of TELEMETRY: the maximum number of
    series per metric; without an exporter nothing is recorded. The pages of plugins exist only when one *shows_pages*.

    ``scalekit check`` and every start call *verify* with the keys that enabled plugins provide. It connects to no
    server, and raises ConfigError, StartError or ImportError when the plugin cannot start. *verify_service* is called
    too, but not in commands: it checks what only a service needs, and what a command may be about to make.
    """

    run: Run
    provides: tuple[AnyKey, ...] = ()
    requires: tuple[AnyKey, ...] = ()
    after: tuple[AnyKey, ...] = ()
    before: tuple[AnyKey, ...] = ()
    ready: Callback | None = None
    drain: Callback | None = None
    series_budget: int | None = None
    outermost: bool = False
    shows_pages: bool = False
    verify: Verify | None = None
    verify_service: Verify | None = None
    required_by_key: Mapping[AnyKey, str] = field(default_factory=dict)


def series_budget(lifespans: Mapping[str, Lifespan]) -> int | None:
    """Return the maximum number of series per metric, or None without an exporter."""
    return max((item.series_budget for item in lifespans.values() if item.series_budget is not None), default=None)
