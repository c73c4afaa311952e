from __future__ import annotations

from typing import Any

import pytest

from scalekit.config.schema import file_schema
from scalekit.plugins import Plugins, installed
from scalekit.settings import load


def problems(data: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in load(data).document.problems]


def test_plugins_must_be_tables() -> None:
    assert problems({"plugins": 3}) == ["configuration: plugins: expected tables; write [plugins.NAME] for each plugin"]


@pytest.mark.parametrize("value", ["postgres://u:hunter2@h/d", "hunter2", ["hunter2"]])
def test_a_value_in_place_of_a_plugins_table_is_not_shown(value: Any) -> None:
    (problem,) = problems({"plugins": {"visits": value}})
    assert f"expected a table, got {type(value).__name__}; write [plugins.visits]" in problem
    assert "hunter2" not in problem


EVERY_PLUGIN = sorted(installed())


@pytest.mark.parametrize("plugin", EVERY_PLUGIN)
def test_every_plugin_is_switched_off_in_place(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    table: dict[str, Any] = {"enabled": False, "no_such_key": "${NOT_SET}"}
    settings = load({"plugins": {plugin: table}})
    assert (settings.plugins.names, settings.disabled) == ([], (plugin,))
    (problem,) = settings.document.problems
    assert (problem.key, problem.message.partition(";")[0]) == (f"plugins.{plugin}.no_such_key", "unknown key")
    assert load({"plugins": {plugin: {}}}, (f"plugins.{plugin}.enabled=false",)).disabled == (plugin,)


@pytest.mark.parametrize("plugin", EVERY_PLUGIN)
def test_every_plugin_accepts_enabled_true(plugin: str) -> None:
    settings = load({"plugins": {plugin: {"enabled": True}}})
    assert (settings.plugins.names, settings.disabled) == ([plugin], ())
    assert not [each for each in settings.document.problems if "enabled" in each.key]


def test_values_and_packages_of_a_disabled_plugin_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    tables: dict[str, Any] = {
        "pool": {"enabled": False, "max_size": "${NOT_SET}", "min_size": "many", "url": "postgresql://"},
        "not-installed": {"enabled": False, "x": 1},
    }
    assert problems({"plugins": tables}) == []


@pytest.mark.parametrize("value", ["no", 0, [], "${NOT_SET}"])
def test_enabled_must_be_true_or_false(value: object) -> None:
    (problem,) = problems({"plugins": {"visits": {"enabled": value}}})
    assert problem.startswith("configuration: plugins.visits.enabled: ")


@pytest.mark.parametrize("overrides", [(), ("plugins.metrics=false",)])
def test_false_in_place_of_a_table_is_refused_with_the_remedy(overrides: tuple[str, ...]) -> None:
    (problem,) = load({"plugins": {"metrics": False}}, overrides).document.problems
    assert "; write [plugins.metrics] enabled = false, which switches it off" in problem.message
    assert load({}, ("plugins.metrics.enabled=false",)).disabled == ("metrics",)


def test_only_refuses_a_disabled_plugin() -> None:
    (problem,) = load({"plugins": {"metrics": {"enabled": False}}}, only=("metrics",)).document.problems
    assert "is not turned on, but --only wants it" in problem.message


def test_the_schema_has_the_key_enabled() -> None:
    plugins = Plugins()
    for name in EVERY_PLUGIN:
        plugins.load(installed()[name])
    models = plugins.models()
    schema = file_schema({name: models.get(name) for name in EVERY_PLUGIN})
    for name in EVERY_PLUGIN:
        table = schema["properties"]["plugins"]["properties"][name]
        table = schema["$defs"][table["$ref"].rpartition("/")[2]] if "$ref" in table else table
        assert "boolean" in table["properties"]["enabled"]["type"]
