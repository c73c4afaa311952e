"""Every hook that a plugin may implement.

Hooks are plain functions, called once, while the application is built. They are not coroutines: a hook that needs
asynchronous work returns a Lifespan or Check that does it.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
import pluggy
from starlette.routing import BaseRoute

from scalekit.config.table import Table
from scalekit.context import Context
from scalekit.diagnostic import Diagnostic
from scalekit.health.check import Check
from scalekit.layers import LayeredFilter
from scalekit.lifespan import Lifespan
from scalekit.pages.page import ConsolePage
from scalekit.server_requirement import ServerRequirement
from scalekit.telemetry.instruments import AnyInstrument

GROUP = "scalekit"
VERSION = 1
"""Rises when a hook is removed or an argument changes its meaning: see docs/stability.md."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Decorator that marks a function of a plugin's module as a hook."""


@hookspec
def scalekit_config() -> type[Table]:  # type: ignore[empty-body] # specification only
    """Return the model of this plugin's table in the file."""


@hookspec
def scalekit_lifespan(context: Context) -> Lifespan:  # type: ignore[empty-body] # specification only
    """Return the start and stop of this plugin."""


@hookspec
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:  # type: ignore[empty-body] # specification only
    """Return the filters or ASGI middleware of requests, each with its layer."""


@hookspec
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:  # type: ignore[empty-body] # specification only
    """Return the routes to match before the application's own."""


@hookspec
def scalekit_health(context: Context) -> Sequence[Check]:  # type: ignore[empty-body] # specification only
    """Return the health checks of this plugin."""


@hookspec
def scalekit_commands(context: Context) -> Sequence[click.Command]:  # type: ignore[empty-body] # specification only
    """Return the commands to show as ``scalekit <plugin> <command>``."""


@hookspec
def scalekit_metrics(context: Context) -> Sequence[AnyInstrument]:  # type: ignore[empty-body] # specification only
    """Return the metrics that this plugin records in its configuration, for dashboards and alerts."""


@hookspec
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:  # type: ignore[empty-body] # specification only
    """Return the pages of this plugin in the console; called only when a plugin shows pages, before filters exist."""


@hookspec
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:  # type: ignore[empty-body] # specification only
    """Return the servers that this plugin connects to in its configuration; called by `scalekit deploy` only."""


@hookspec
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:  # type: ignore[empty-body] # specification only
    """Return the diagnostics of this plugin's servers and settings; called by `scalekit doctor` only."""
