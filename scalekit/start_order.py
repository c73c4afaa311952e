"""Order plugins by the resources that they provide and require."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from scalekit.context import AnyKey
from scalekit.errors import PluginError
from scalekit.lifespan import Lifespan


def with_dependencies(lifespans: Mapping[str, Lifespan], only: Iterable[str]) -> dict[str, Lifespan]:
    """Return the lifespans of *only*, of their dependencies, and of outermost plugins and exporters of metrics."""
    providers = _providers(lifespans)
    wanted = [name for name, item in lifespans.items() if item.outermost or item.series_budget is not None]
    wanted += [name for name in only if name in lifespans]
    found: dict[str, Lifespan] = {}
    while wanted:
        name = wanted.pop()
        item = found[name] = lifespans[name]
        used = {providers[key] for key in (*item.requires, *item.after) if key in providers}
        wanted += sorted(used - set(found))
    return {name: item for name, item in lifespans.items() if name in found}


def providing(lifespans: Sequence[Lifespan], keys: Iterable[AnyKey]) -> list[Lifespan]:
    """Return the *lifespans*, in start order, that provide one of *keys*, and their dependencies."""
    wanted = set(keys)
    found: list[Lifespan] = []
    for item in reversed(lifespans):
        if wanted.intersection(item.provides):
            found.append(item)
            wanted |= {*item.requires, *item.after}
    return found[::-1]


def missing_requirements(lifespans: Mapping[str, Lifespan]) -> dict[tuple[str, ...], str]:
    """Return the message for each missing requirement, by the path of the table or key that requires it."""
    provided = {key for item in lifespans.values() for key in item.provides}
    return {
        (name, *([item.required_by_key[key]] if key in item.required_by_key else [])): (
            f"requires {key.name!r}, which no enabled plugin provides{_remedy(key)}"
        )
        for name, item in lifespans.items()
        for key in (*item.requires, *item.before)
        if key not in provided
    }


def start_order(lifespans: Mapping[str, Lifespan]) -> list[str]:
    """Return the plugins' names, each after the providers of the resources that it uses, otherwise sorted.

    Raises PluginError when two plugins provide one key, or plugins depend on each other in a cycle.
    """
    providers = _providers(lifespans)
    outermost = {name for name, item in lifespans.items() if item.outermost}
    graph = {
        name: {providers[key] for key in (*item.requires, *item.after) if key in providers}
        | (set() if item.outermost else outermost)
        for name, item in lifespans.items()
    }
    for name, item in lifespans.items():
        for key in item.before:
            if key in providers:
                graph[providers[key]].add(name)
    try:
        return _sorted(TopologicalSorter(graph))
    except CycleError as error:
        raise PluginError(f"plugins depend on each other in a cycle: {' -> '.join(error.args[1])}") from None


def _sorted(sorter: TopologicalSorter[str]) -> list[str]:
    """Return the nodes of *sorter*, of those that are possible next the first by name: equal plugins, equal order."""
    sorter.prepare()
    order: list[str] = []
    possible: list[str] = []
    while sorter.is_active():
        possible = sorted([*possible, *sorter.get_ready()])
        order.append(possible.pop(0))
        sorter.done(order[-1])
    return order


def _providers(lifespans: Mapping[str, Lifespan]) -> dict[AnyKey, str]:
    providers: dict[AnyKey, str] = {}
    for name, item in lifespans.items():
        for key in item.provides:
            if providers.setdefault(key, name) != name:
                raise PluginError(f"{key.name!r} is provided by both {providers[key]!r} and {name!r}; turn one off")
    return providers


def _remedy(key: AnyKey) -> str:
    return f"; turn on [plugins.{key.plugin}]" if key.plugin else ""
