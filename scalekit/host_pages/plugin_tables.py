"""The tables of the page of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from starlette.routing import BaseRoute

from scalekit.host import ChainLink, Host
from scalekit.http.filter import Filter
from scalekit.http.filter_times import WAIT, Durations, durations_from_json
from scalekit.http.router import ManagementRoute, is_for_operators, path_of
from scalekit.lifecycle import Step
from scalekit.pages.blocks import Badge, Cell, Column, DataTable, Link, Tone, Unit
from scalekit.pages.page import PageView
from scalekit.plugins import InstalledPlugin

OWN = "scalekit-asgi"
"""The distribution of ScaleKit and its plugins."""
PLUGINS = (
    Column("plugin"),
    Column("version"),
    Column("distribution"),
    Column("source"),
    Column("module"),
    Column("filters"),
    Column("routes"),
    Column("hooks"),
)
CHAIN = (
    Column("position"),
    Column("layer"),
    Column("plugin"),
    Column("filter", code=True),
    Column("runs while pending"),
    Column("time per request", Unit.SECONDS),
)
TIMES = (
    Column("plugin"),
    Column("filter", code=True),
    Column("call", code=True),
    Column("calls"),
    Column("mean", Unit.SECONDS),
    Column("p99", Unit.SECONDS),
    Column("longest", Unit.SECONDS),
)
PLUGIN_TIMES = (Column("plugin"), Column("time per request", Unit.SECONDS), Column("wait per request", Unit.SECONDS))
STARTS = (
    Column("position"),
    Column("starts"),
    Column("provides"),
    Column("starts after"),
    Column("slowest worker", Unit.SECONDS),
    Column("fastest worker", Unit.SECONDS),
)
ROUTES = (Column("owner"), Column("path", code=True), Column("methods"), Column("for"))

Times = Mapping[str, Durations]
"""The durations of the methods of one filter by name, and of its waiting."""


def plugin_table(host: Host, installed: Mapping[str, Sequence[InstalledPlugin]]) -> DataTable:
    """Return the enabled plugins with their distributions."""
    rows: list[Sequence[Cell]] = []
    for name in host.settings.plugins.names:
        plugin = installed[name][0]
        own = plugin.distribution.lower() == OWN
        hooks = [hook.removeprefix("scalekit_") for hook in host.settings.plugins.hooks(name)]
        rows.append(
            (
                Link(name, "configuration", {"filter": f"plugins.{name}"}),
                plugin.version,
                plugin.distribution,
                Badge("ScaleKit", Tone.GOOD) if own else Badge("third party"),
                plugin.module,
                sum(link.owner == name for link in host.links),
                len(host.routes.get(name, ())),
                ", ".join(hooks),
            )
        )
    return DataTable(PLUGINS, rows, "Plugins", empty="no plugin is enabled")


def chain_table(links: Sequence[ChainLink], view: PageView) -> DataTable:
    """Return the links of the chain, the outermost first, with the time of each filter when it was measured."""
    measured = _merge(view)
    rows: list[Sequence[Cell]] = []
    for place, link in enumerate(links):
        times = measured.get(place)
        early = link.filter.runs_while_pending if isinstance(link.filter, Filter) else None
        per_request = _per_request(times) if times else None
        rows.append((place + 1, link.place, link.owner, _class_name(link), early, per_request))
    return DataTable(CHAIN, rows, "Chain of filters, the outermost first")


def time_tables(links: Sequence[ChainLink], view: PageView) -> Iterator[DataTable]:
    """Yield the measured times by plugin and by method."""
    measured = _merge(view)
    plugins: dict[str, tuple[float, float]] = {}
    rows: list[Sequence[Cell]] = []
    for place, times in sorted(measured.items()):
        link = links[place]
        busy, waiting = plugins.get(link.owner, (0.0, 0.0))
        plugins[link.owner] = (busy + _per_request(times), waiting + _per_request(times, waiting=True))
        for name, each in times.items():
            row = (name, each.count, each.mean, each.percentile(0.99), each.maximum)
            rows.append((link.owner, _class_name(link), *row))
    by_plugin = [(name, *each) for name, each in sorted(plugins.items(), key=lambda item: -item[1][0])]
    yield DataTable(PLUGIN_TIMES, by_plugin, "Time of plugins in a request that reaches them")
    yield DataTable(TIMES, rows, "Time of filters by call")


def start_table(steps: Sequence[Step], view: PageView) -> DataTable:
    """Return the steps of the start in order, with the seconds that they took."""
    rows: list[Sequence[Cell]] = []
    for place, step in enumerate(steps, 1):
        found = [each["starts"][step.name] for each in view.workers.values() if step.name in each["starts"]]
        lifespan = step.lifespan
        provides = ", ".join(key.name for key in lifespan.provides)
        after = ", ".join(dict.fromkeys(key.name for key in (*lifespan.requires, *lifespan.after)))
        name = step.plugin or step.name
        rows.append((place, name, provides, after, max(found, default=None), min(found, default=None)))
    return DataTable(STARTS, rows, "Start order")


def route_table(routes: Mapping[str, Sequence[BaseRoute]]) -> DataTable:
    """Return the routes of plugins and of the host."""
    rows = [
        (owner, path_of(route), ", ".join(sorted(getattr(route, "methods", None) or ())), _audience(route))
        for owner, items in routes.items()
        for route in items
    ]
    return DataTable(ROUTES, rows, "Routes")


def _merge(view: PageView) -> dict[int, dict[str, Durations]]:
    """Return the times of all workers together, by the position of the link."""
    merged: dict[int, dict[str, Durations]] = {}
    for each in view.workers.values():
        for place, content in each["links"].items():
            times = merged.setdefault(int(place), {})
            for name, durations in durations_from_json(content):
                times.setdefault(name, Durations()).merge(durations)
    return merged


def _per_request(times: Times, *, waiting: bool = False) -> float:
    """Return the seconds of a filter, or of its *waiting*, in a request that reaches it."""
    requests = max(each.count for name, each in times.items() if name != WAIT) if set(times) != {WAIT} else 1
    return sum(each.total for name, each in times.items() if (name == WAIT) == waiting) / requests


def _class_name(link: ChainLink) -> str:
    kind = type(link.filter) if isinstance(link.filter, Filter) else link.filter.cls
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', kind)}"


def _audience(route: BaseRoute) -> str:
    return "operators" if is_for_operators(route) or isinstance(route, ManagementRoute) else "clients"
