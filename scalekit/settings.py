"""The parsed file: the host's tables, the enabled plugins and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scalekit.config.app_name import AppName, apply_app_name
from scalekit.config.document import Document, Source, read
from scalekit.config.enabled_key import copy_without_problems, pop_enabled
from scalekit.config.name_suggestion import suggest_name
from scalekit.config.redaction import redactor
from scalekit.config.table import Table
from scalekit.config.tables import App, Health, Server
from scalekit.config.validation import UNKNOWN_KEY, parse, value_at
from scalekit.context import Context
from scalekit.errors import ConfigError, PluginError
from scalekit.plugins import InstalledPlugin, Plugins, installed

TOP_LEVEL = ("app", "server", "health", "plugins")


@dataclass(frozen=True, slots=True)
class Settings:
    """The tables of one application and its plugins; mistakes are in ``document.problems``."""

    document: Document
    app: App
    server: Server
    health: Health
    tables: dict[str, Table]
    plugins: Plugins
    only: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()

    def raise_problems(self) -> None:
        """Raise ConfigError with every mistake in the order of the file, if there is any."""
        if self.document.problems:
            problems = sorted(self.document.problems, key=lambda problem: (problem.file, problem.line))
            raise ConfigError(problems) from self.document.cause

    def context(self) -> Context:
        """Return a new context with these tables and no resources."""
        configs = {type(table): table for table in self.tables.values()}
        tables = [self.app, self.server, self.health, *self.tables.values()]
        return Context(self.server, configs, redactor(tables), self.app.name)


def load(
    source: Source,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read *source* with *overrides*, load the enabled plugins and check every table.

    *only* names the plugins to start, with their dependencies; the default is all. *environment* has the variables that
    the file references, by default those of the process. Raises ConfigError when a file cannot be read; other mistakes
    are collected in ``document.problems``.
    """
    document = read(source, overrides, environment)
    for name in document.data:
        if name not in TOP_LEVEL:
            document.report((name,), f"unknown table; {suggest_name(name, TOP_LEVEL)}")
    plugins, disabled = _load_plugins(document)
    for name in only:
        if name not in plugins.names and not any(each.plugin == name for each in document.problems):
            document.report(
                ("plugins", name), f"is not turned on, but --only wants it; {suggest_name(name, plugins.names)}", name
            )
    return Settings(
        document,
        parse(App, document, ("app",)) or App(),
        parse(Server, document, ("server",)) or Server(),
        parse(Health, document, ("health",)) or Health(),
        _parse_tables(document, plugins),
        plugins,
        tuple(only),
        tuple(disabled),
    )


def _load_plugins(document: Document) -> tuple[Plugins, list[str]]:
    """Return the loaded plugins, and the names of those that are switched off."""
    plugins, disabled = Plugins(document.with_location), []
    wanted = document.table("plugins")
    if not isinstance(document.data.get("plugins", wanted), dict):
        document.report(("plugins",), "expected tables; write [plugins.NAME] for each plugin")
    available = installed() if wanted else {}  # listing installed distributions is slow
    for name, table in sorted(wanted.items()):
        if isinstance(table, dict) and not pop_enabled(document, name):
            disabled.append(name)
            _report_unknown_keys(document, name, available.get(name, ()))
        elif name not in available:
            document.report(("plugins", name), f"no such plugin is installed; {suggest_name(name, available)}", name)
        elif not isinstance(table, dict):
            document.report(
                ("plugins", name), _not_a_table(name, table, document.literals.get(("plugins", name))), name
            )
        else:
            try:
                plugins.load(available[name])
            except PluginError as error:
                document.causes.append(error)
                document.report(("plugins", name), str(error), name)
    return plugins, disabled


def _not_a_table(name: str, value: object, literal: object) -> str:
    remedy = f"write [plugins.{name}]"
    if value is False or literal is False:
        remedy += " enabled = false, which switches it off"
    return f"expected a table, got {type(value).__name__}; {remedy}"


def _report_unknown_keys(document: Document, name: str, candidates: Sequence[InstalledPlugin]) -> None:
    """Report the unknown keys of a plugin that is switched off; its values and packages are not checked."""
    path = ("plugins", name)
    if not value_at(document.data, path):
        return
    plugins = Plugins()
    try:
        plugins.load(candidates)
    except (PluginError, ValueError):
        return
    copy = copy_without_problems(document)
    for model in plugins.models().values():
        parse(model, copy, path, plugin=name)
    document.problems += [each for each in copy.problems if each.message.startswith(UNKNOWN_KEY)]


def _service_name_keys(model: type[Table]) -> dict[str, AppName]:
    """Return the keys of *model* whose default is the name of the service."""
    named = ((key, mark) for key, field in model.model_fields.items() for mark in field.metadata)
    return {key: mark for key, mark in named if isinstance(mark, AppName)}


def _parse_tables(document: Document, plugins: Plugins) -> dict[str, Table]:
    models = plugins.models()
    parsed: dict[str, Table] = {}
    for name in plugins.names:
        path = ("plugins", name)
        if name in models:
            apply_app_name(document, path, _service_name_keys(models[name]))
            table = parse(models[name], document, path, plugin=name)
            parsed |= {name: table} if table else {}
        elif document.data["plugins"][name]:
            document.report(path, "this plugin takes no configuration; leave its table empty", name)
    return parsed
