"""Build the application that a file describes. Read from top to bottom."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.app_lifespan import app_lifespan
from scalekit.app_loader import load_target
from scalekit.chain_links import entry_links, layer_links, public_routes
from scalekit.config.document import Source
from scalekit.context import Context
from scalekit.contracts.explainer import REQUEST_EXPLAINER
from scalekit.contracts.log_levels import LOG_LEVEL_OVERRIDES
from scalekit.contracts.overrides import OVERRIDES
from scalekit.errors import PluginError
from scalekit.health.check import Check
from scalekit.health.external import external_check
from scalekit.health.monitor import Monitor
from scalekit.host import ChainLink, Host
from scalekit.host_pages import host_pages
from scalekit.http.app_routes import warn_of_hidden_routes
from scalekit.http.exception_handlers import add_exception_handlers
from scalekit.http.proxy_warning import ProxyWarning
from scalekit.http.root_path import AddRootPath, RemoveRootPath, root_path_of
from scalekit.http.route_template import ROUTE_TEMPLATE, RouteTemplates
from scalekit.http.router import (
    IS_PLUGIN_REQUEST,
    PluginRoutes,
    is_for_operators,
    refuse_conflicts,
)
from scalekit.http.static_files.routes import static_routes
from scalekit.lifecycle import APPLICATION, HEALTH, Lifecycle, Step
from scalekit.lifespan import Lifespan, series_budget
from scalekit.log_level.overrides import GROUP, LEVEL_OVERRIDES, LevelOverrides
from scalekit.message_hub import WORKER_HUB, WorkerHub
from scalekit.operator_pages import operator_pages
from scalekit.overrides import PROCESS_OVERRIDES, ProcessOverrides
from scalekit.pages.registry import CONSOLE_PAGES, PageRegistry
from scalekit.recorded_warnings import RecordedWarnings
from scalekit.request_explainer import HostExplainer
from scalekit.runner.memory import metrics as memory_metrics
from scalekit.runner.memory.heap_growth import TOPIC, memory_query_handler, tracing
from scalekit.runner.memory.history import MEMORY_HISTORY, MemoryHistory
from scalekit.runner.workers import metrics as worker_metrics
from scalekit.runner.workers.worker_queries import WORKER_QUERIES, WorkerQueries
from scalekit.settings import Settings, load
from scalekit.start_order import start_order, with_dependencies
from scalekit.telemetry import TELEMETRY, NullTelemetry, Telemetry, catalogue, instruments_in
from scalekit.telemetry.instruments import AnyInstrument
from scalekit.verification import Verifications, command_verifications, service_verifications, verify_lifespans


def create_app(
    source: Source = "scalekit.toml",
    *,
    app: ASGIApp | None = None,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Host:
    """Return the application that *source*, a file or a mapping, describes; *app* replaces ``[app] target``.

    *overrides* are ``key=value`` as after ``--set``. *only* names the plugins to start with their dependencies; the
    default is all. Raises ConfigError with every mistake of the file, and PluginError when a hook fails.
    """
    settings = load(source, overrides, only)
    target = _target(settings) if app is None else app
    settings.raise_problems()
    return build(settings, target)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The plugins of one application in start order, before they start."""

    context: Context
    steps: list[Step]
    order: list[str]


def prepare(settings: Settings, verifications: Verifications = command_verifications) -> Prepared:
    """Collect the lifespans of the plugins of *settings* and derive their order.

    Raises ConfigError naming every plugin that cannot start by its *verifications*.
    """
    context = settings.context()
    lifespans = settings.plugins.lifespans(context)
    if settings.only:
        lifespans = with_dependencies(lifespans, settings.only)
        settings.plugins.retain(lifespans)
    verify_lifespans(settings, lifespans, verifications)
    order = start_order(lifespans)
    steps = [_plugin_step(settings, name, lifespans[name]) for name in order]
    budget = series_budget(lifespans)
    telemetry = NullTelemetry() if budget is None else Telemetry(budget)
    recorded = {"host": _own_metrics(settings), **settings.plugins.metrics(context)}
    telemetry.catalogue = catalogue(recorded)
    context.provide(TELEMETRY, telemetry)
    worker_queries = WorkerQueries()
    worker_queries.register(TOPIC, memory_query_handler())
    context.provide(WORKER_QUERIES, worker_queries)
    context.provide(WORKER_HUB, WorkerHub())
    overrides = ProcessOverrides()
    context.provide(PROCESS_OVERRIDES, overrides)
    context.provide(OVERRIDES, overrides)
    levels = LevelOverrides(overrides.group(GROUP))
    context.provide(LEVEL_OVERRIDES, levels)
    context.provide(LOG_LEVEL_OVERRIDES, levels)
    if any(item.shows_pages for item in lifespans.values()):
        context.provide(CONSOLE_PAGES, _plugin_pages(settings, context, worker_queries))
    context.started = Lifecycle(steps, context).running
    return Prepared(context, steps, order)


def _plugin_pages(settings: Settings, context: Context, queries: WorkerQueries) -> PageRegistry:
    """Return the pages of plugins; the host adds its own."""
    registry = PageRegistry(queries, settings.plugins.names)
    for name, pages in settings.plugins.pages(context).items():
        for page in pages:
            registry.add(page, name)
    return registry


def _own_metrics(settings: Settings) -> list[AnyInstrument]:
    """Return the metrics of the host, which do not depend on plugins."""
    return [*instruments_in(memory_metrics), *(instruments_in(worker_metrics) if settings.server.workers else ())]


def build(settings: Settings, target: ASGIApp) -> Host:
    """Return *target* with the plugins of *settings* around it."""
    warnings = RecordedWarnings()
    with warnings.building():
        return _build(settings, target, warnings)


def _build(settings: Settings, target: ASGIApp, warnings: RecordedWarnings) -> Host:
    add_exception_handlers(target)
    plugins = settings.plugins
    prepared = prepare(settings, service_verifications)
    context = prepared.context
    monitor = Monitor(_checks(settings, plugins.checks(context)), settings.health.check_interval, context.redact)
    if context.has(CONSOLE_PAGES):
        for page in host_pages(settings, context, monitor, warnings, lambda: host):
            context.get(CONSOLE_PAGES).add(page, "host")
    routes = _routes_by_owner(settings, target, context)
    state: dict[str, object] = {}
    steps = _steps(settings, prepared, monitor, partial(app_lifespan, target, state, context))
    if context.has(CONSOLE_PAGES):
        history = context.shared(MEMORY_HISTORY, MemoryHistory)
        for name, run in (("warnings", warnings.running), ("memory history", history.running)):
            steps.insert(0, Step(name, Lifespan(run), None, settings.server.stop_timeout))
    lifecycle = Lifecycle(steps, context)
    prefix = root_path_of(target)
    own_routes = _plugin_routes(settings, routes)
    templates = RouteTemplates(own_routes)
    context.provide(ROUTE_TEMPLATE, templates.of)
    if own_routes:
        context.provide(IS_PLUGIN_REQUEST, own_routes.serves)
    links = [
        *([ChainLink("prefix", "host", AddRootPath(prefix))] if prefix else []),
        *entry_links(settings, lifecycle, monitor, routes, templates),
        *layer_links(settings, plugins.filters(context)),
        *([ChainLink("routes", "plugins", own_routes)] if own_routes else []),
        *([ChainLink("prefix", "host", RemoveRootPath())] if prefix else []),
    ]
    host = Host(
        settings,
        context,
        lifecycle,
        monitor,
        links=links,
        templates=templates,
        routes=routes,
        start_order=prepared.order,
        target=target,
        state=state,
    )
    if context.has(CONSOLE_PAGES):
        context.provide(REQUEST_EXPLAINER, HostExplainer(host))
    if not settings.server.trusted_proxies:
        host.add_temporary_filter(ProxyWarning)
    return host


def _routes_by_owner(settings: Settings, target: ASGIApp, context: Context) -> Mapping[str, Sequence[BaseRoute]]:
    """Return the routes of plugins and host by owner; warn about routes of *target* that they hide.

    Raises ConfigError with the mistakes of the file so far, and PluginError when two owners have one path.
    """
    by_plugin = settings.plugins.routes(context)
    own = [*operator_pages(settings, by_plugin), *static_routes(settings.document, settings.app.static)]
    routes = {**by_plugin, "host": own} if own else by_plugin
    settings.raise_problems()
    health = settings.health.path
    health_pages = (health, f"{health}/live", f"{health}/ready")
    refuse_conflicts(routes, dict.fromkeys(health_pages, "the host"))
    public = {name: public_routes(settings, items) for name, items in routes.items()}
    warn_of_hidden_routes(target, public, () if settings.server.management_address else health_pages)
    return routes


def _target(settings: Settings) -> ASGIApp:
    """Return the application that ``[app] target`` names; report a mistake to the document."""
    path = ("app", "target")
    if settings.server.role == "worker":
        return _null_app
    if settings.app.target is not None:
        try:
            return load_target(settings.app.target)
        except ValueError as error:
            settings.document.causes.append(error)
            settings.document.report(path, str(error))
    elif not any(problem.key.startswith("app") for problem in settings.document.problems):
        settings.document.report(path, 'is required; write [app] target = "module.path:name"')
    return _null_app


async def _null_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand in for the application in workers without requests, and until mistakes of the file are raised."""


def _checks(settings: Settings, by_plugin: Mapping[str, Sequence[Check]]) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for plugin, items in by_plugin.items():
        for check in items:
            name = check.name if check.name == plugin else f"{plugin}.{check.name}"
            if name in checks:
                raise PluginError(f"plugin {plugin!r} has two health checks named {check.name!r}")
            checks[name] = check
    for name, service in settings.health.external.items():
        checks[f"external.{name}"] = external_check(name, service)
    return checks


def _steps(
    settings: Settings, prepared: Prepared, monitor: Monitor, start_app: Callable[[], AbstractAsyncContextManager[None]]
) -> list[Step]:
    """Return the steps of a start in order: memory metrics, plugins, health checks, the application of web workers."""
    server = settings.server
    steps = [
        Step("memory", Lifespan(partial(_memory, settings, prepared.context)), None, server.stop_timeout),
        *prepared.steps,
        Step(HEALTH, Lifespan(monitor.run), None, server.stop_timeout),
    ]
    if server.role == "web":
        steps.append(Step(APPLICATION, Lifespan(start_app), None, server.graceful_timeout))
    return steps


def _plugin_step(settings: Settings, name: str, lifespan: Lifespan) -> Step:
    origin = settings.document.origin(("plugins", name))
    server = settings.server
    return Step(
        f"plugin {name!r} ([plugins.{name}], {origin})", lifespan, server.start_timeout, server.stop_timeout, name
    )


@asynccontextmanager
async def _memory(settings: Settings, context: Context) -> AsyncGenerator[None, None]:
    with tracing(settings.server.memory.tracemalloc):
        async with memory_metrics.memory_metrics(context.get(TELEMETRY)):
            yield


def _plugin_routes(settings: Settings, by_plugin: Mapping[str, Sequence[BaseRoute]]) -> PluginRoutes | None:
    public = [route for items in by_plugin.values() for route in public_routes(settings, items)]
    routes = [route for route in public if not is_for_operators(route)]
    return PluginRoutes(routes) if routes else None
