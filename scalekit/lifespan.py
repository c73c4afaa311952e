"""What a plugin runs around the application's life, and the order in which plugins start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from scalekit.context import Key
from scalekit.errors import PluginError

Run = Callable[[], AbstractAsyncContextManager[None]]
Callback = Callable[[], Awaitable[None]]
Verify = Callable[[Container[Key[Any]]], None]


@dataclass(frozen=True, slots=True)
class Lifespan:
    """A plugin's start and stop, what it gives and what it needs.

    *run* is entered to start and left to stop. *provides* names the keys it provides while it runs. A plugin starts
    after whoever provides a key of its *requires*, which must exist, or of its *after*, which need not, and before
    whoever provides a key of its *before*, which must exist. *ready* is awaited once everything has started, except for
    a command, which serves nothing; *drain* as soon as the process has been asked to end, while it still serves.
    A plugin that exports what is recorded in TELEMETRY says in *series_budget* how many series each metric may have;
    while no plugin does, nothing is recorded. A plugin that is *outermost* needs no other, starts before all others and
    stops after them, so that it can tell how they did. *verify* is called with the keys that enabled plugins provide,
    by `scalekit check` and before every start; it connects to nothing, and raises ConfigError, StartError or
    ImportError for what would keep the plugin from starting whatever its servers do. *asked_by* names the key of the
    plugin's table because of which it needs a key of another plugin.
    """

    run: Run
    provides: tuple[Key[Any], ...] = ()
    requires: tuple[Key[Any], ...] = ()
    after: tuple[Key[Any], ...] = ()
    before: tuple[Key[Any], ...] = ()
    ready: Callback | None = None
    drain: Callback | None = None
    series_budget: int | None = None
    outermost: bool = False
    verify: Verify | None = None
    required_by_key: Mapping[Key[Any], str] = field(default_factory=dict)


def series_budget(lifespans: Mapping[str, Lifespan]) -> int | None:
    """Return how many series each metric may have, or None when no plugin exports any."""
    return max((item.series_budget for item in lifespans.values() if item.series_budget is not None), default=None)


def with_dependencies(lifespans: Mapping[str, Lifespan], only: Iterable[str]) -> dict[str, Lifespan]:
    """Return the lifespans of *only*, of the plugins whose resources these use, and of those that tell how it goes."""
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


def providing(lifespans: Sequence[Lifespan], keys: Iterable[Key[Any]]) -> list[Lifespan]:
    """Return, of *lifespans* in start order, those that provide one of *keys*, and their dependencies."""
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
    """Return the plugins' names such that each comes after those whose resources it uses.

    Raises PluginError when a key is provided twice or plugins wait for each other.
    """
    providers = _providers(lifespans)
    outermost = {name for name, item in lifespans.items() if item.outermost}
    graph = {
        name: {providers[key] for key in (*item.requires, *item.after) if key in providers}
        | (set() if item.outermost else outermost)
        for name, item in sorted(lifespans.items())
    }
    for name, item in lifespans.items():
        for key in item.before:
            if key in providers:
                graph[providers[key]].add(name)
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise PluginError(f"plugins wait for each other: {' -> '.join(error.args[1])}") from None


def _providers(lifespans: Mapping[str, Lifespan]) -> dict[Key[Any], str]:
    providers: dict[Key[Any], str] = {}
    for name, item in lifespans.items():
        for key in item.provides:
            if providers.setdefault(key, name) != name:
                raise PluginError(f"{key.name!r} is provided by both {providers[key]!r} and {name!r}; turn one off")
    return providers


def _remedy(key: Key[Any]) -> str:
    return f"; turn on [plugins.{key.plugin}]" if key.plugin else ""
