"""Find and load plugins and call their hooks. Only this module uses the pluggy manager.

pluggy returns results without plugin names, last registered first, and one failure discards all of them; so hooks are
called for one plugin at a time. Each application has its own manager. Only enabled plugins are imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from types import ModuleType
from typing import TypeVar

import click
import pluggy
from starlette.routing import BaseRoute

from scalekit import hookspecs
from scalekit.app_loader import describe_error
from scalekit.config.table import Table
from scalekit.context import Context
from scalekit.diagnostic import Diagnostic
from scalekit.errors import ConfigError, PluginError, Problem
from scalekit.health.check import Check
from scalekit.layers import LayeredFilter
from scalekit.lifespan import Lifespan
from scalekit.pages.page import ConsolePage
from scalekit.server_requirement import ServerRequirement
from scalekit.telemetry.instruments import AnyInstrument, Instrument

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A plugin that an installed distribution declares."""

    point: EntryPoint

    @property
    def name(self) -> str:
        """The name of the plugin's table in the file."""
        return self.point.name

    @property
    def module(self) -> str:
        """The module of the plugin's hooks."""
        return self.point.value

    @property
    def distribution(self) -> str:
        """The distribution that declares the plugin; slow, because each access reads the distribution's metadata."""
        return self.point.dist.name if self.point.dist else ""

    @property
    def version(self) -> str:
        """The version of the distribution."""
        return self.point.dist.version if self.point.dist else ""


def installed() -> dict[str, list[InstalledPlugin]]:
    """Return every installed plugin by name; several under one name conflict only when that name is enabled."""
    found: dict[str, list[InstalledPlugin]] = {}
    for point in entry_points(group=hookspecs.GROUP):
        same = found.setdefault(point.name, [])
        if all(point.value != other.module for other in same):
            same.append(InstalledPlugin(point))
    return dict(sorted(found.items()))


class Plugins:
    """The loaded plugins of one application in alphabetical order.

    *locate* adds file and line to a problem that a plugin reports.
    """

    def __init__(self, locate: Callable[[Problem], Problem] = lambda problem: problem) -> None:
        self._locate = locate
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._loaded: dict[str, ModuleType] = {}

    def load(self, candidates: Sequence[InstalledPlugin]) -> None:
        """Import and register the one plugin of *candidates*.

        Raises PluginError, without the plugin's name, when there are several or it does not load or is malformed.
        """
        if len(candidates) > 1:
            places = " and ".join(f"{each.module} of {each.distribution}" for each in candidates)
            raise PluginError(f"is installed twice: {places}; uninstall one")
        (plugin,) = candidates
        module = _import(plugin)
        _reject_malformed(module)
        try:
            self._manager.register(module, name=plugin.name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            if self._manager.is_registered(module):
                self._manager.unregister(module)
            raise PluginError(f"has an unknown hook: {' '.join(str(error).split())}") from None
        self._loaded[plugin.name] = module

    def retain(self, names: Container[str]) -> None:
        """Unload every plugin that is not among *names*."""
        for name in self.names:
            if name not in names:
                self._manager.unregister(self._loaded.pop(name))

    @property
    def names(self) -> list[str]:
        """The names of the loaded plugins."""
        return list(self._loaded)

    def hooks(self, name: str) -> list[str]:
        """Return the names of the hooks that the plugin *name* implements."""
        return sorted(caller.name for caller in self._manager.get_hookcallers(self._loaded[name]) or ())

    def models(self) -> dict[str, type[Table]]:
        """Return the model of each plugin's table."""
        results: dict[str, type[Table]] = {}
        for name in self._loaded:
            for model in self._call_hook(name, "scalekit_config"):
                if not (isinstance(model, type) and issubclass(model, Table)):
                    raise PluginError(f"plugin {name!r}: scalekit_config must return a subclass of scalekit.Table")
                results[name] = model
        return results

    def lifespans(self, context: Context) -> dict[str, Lifespan]:
        """Return the lifespan of each plugin that has one."""
        return {name: items[0] for name, items in self._each("scalekit_lifespan", Lifespan, context).items()}

    def filters(self, context: Context) -> dict[str, list[LayeredFilter]]:
        """Return the filters and middleware of each plugin."""
        return self._each("scalekit_filters", LayeredFilter, context)

    def routes(self, context: Context) -> dict[str, list[BaseRoute]]:
        """Return the routes of each plugin."""
        return self._each("scalekit_routes", BaseRoute, context)

    def checks(self, context: Context) -> dict[str, list[Check]]:
        """Return the health checks of each plugin."""
        return self._each("scalekit_health", Check, context)

    def commands(self, context: Context) -> dict[str, list[click.Command]]:
        """Return the commands of each plugin."""
        return self._each("scalekit_commands", click.Command, context)

    def metrics(self, context: Context) -> dict[str, list[AnyInstrument]]:
        """Return the instruments of each plugin."""
        return self._each("scalekit_metrics", Instrument, context)

    def pages(self, context: Context) -> dict[str, list[ConsolePage]]:
        """Return the pages of each plugin."""
        return self._each("scalekit_pages", ConsolePage, context)

    def servers(self, context: Context) -> dict[str, list[ServerRequirement]]:
        """Return the servers that each plugin connects to."""
        return self._each("scalekit_servers", ServerRequirement, context)

    def diagnostics(self, context: Context) -> dict[str, list[Diagnostic]]:
        """Return the diagnostics of each plugin."""
        return self._each("scalekit_diagnostics", Diagnostic, context)

    def _each(self, hook: str, kind: type[T], context: Context) -> dict[str, list[T]]:
        results: dict[str, list[T]] = {}
        problems: list[Problem] = []
        for name in self._loaded:
            try:
                found = self._call_hook(name, hook, context=context)
            except ConfigError as error:  # mistakes that show only together with other tables
                problems += map(self._locate, error.problems)
                continue
            if items := [item for result in found for item in _items(name, hook, kind, result)]:
                results[name] = items
        if problems:
            raise ConfigError(problems)
        return results

    def _call_hook(self, name: str, hook: str, **arguments: object) -> Iterable[object]:
        others = [module for other, module in self._loaded.items() if other != name]
        try:
            return list(self._manager.subset_hook_caller(hook, others)(**arguments))
        except ConfigError:
            raise
        except Exception as error:
            raise PluginError(f"plugin {name!r} failed in {hook}: {describe_error(error)}") from error


def _items(name: str, hook: str, kind: type[T], result: object) -> Sequence[T]:
    items = [result] if isinstance(result, kind) else result
    if not isinstance(items, Sequence) or not all(isinstance(item, kind) for item in items):
        raise PluginError(f"plugin {name!r}: {hook} must return {kind.__name__}, got {result!r}")
    return items


def _import(plugin: InstalledPlugin) -> ModuleType:
    try:
        module = plugin.point.load()
    except ModuleNotFoundError as error:
        raise PluginError(f"{plugin.module} did not load: {_missing_package(plugin, error)}") from error
    except Exception as error:
        raise PluginError(f"{plugin.module} did not load: {describe_error(error)}") from error
    if not isinstance(module, ModuleType):
        raise PluginError(f"{plugin.module} must be a module of hooks, not {type(module).__name__}")
    return module


def missing_package(name: str, error: ImportError) -> str:
    """Return which package to install for the plugin *name*, whose import failed with *error*."""
    return _missing_package(installed()[name][0], error)


def _missing_package(plugin: InstalledPlugin, error: ImportError) -> str:
    try:
        extras = metadata(plugin.distribution).get_all("Provides-Extra") or ()
    except PackageNotFoundError:
        extras = ()
    wanted = f"{plugin.distribution}[{plugin.name}]" if plugin.name in extras else str(error.name)
    return f"{error}; pip install '{wanted}'"


def _reject_malformed(module: ModuleType) -> None:
    wanted = getattr(module, "scalekit_hooks_version", hookspecs.VERSION)
    if wanted != hookspecs.VERSION:
        raise PluginError(
            f"is written for version {wanted} of the hooks, and this host has version {hookspecs.VERSION}; "
            "install a version of the plugin that supports it"
        )
    for name, function in inspect.getmembers(module, inspect.isfunction):
        marked = hasattr(function, f"{hookspecs.GROUP}_impl")
        if marked and inspect.iscoroutinefunction(function):
            raise PluginError(f"hook {name} must not be async: return the awaitable or the lifespan instead")
        if not marked and hasattr(hookspecs, name) and name.startswith(hookspecs.GROUP):
            raise PluginError(f"hook {name} is not marked with @hookimpl")
