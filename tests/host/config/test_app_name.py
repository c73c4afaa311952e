"""The name of a service is said once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scalekit import create_app
from scalekit.cli.main import group
from scalekit.settings import Settings, load
from scalekit.testing.conformance import bare_application

PLUGINS = {"logging": {}, "discovery": {"source": "consul"}, "metrics": {}}


def services(settings: Settings) -> dict[str, str]:
    tables: dict[str, Any] = dict(settings.tables)
    return {name: table.service for name, table in tables.items() if hasattr(table, "service")}


def test_the_name_is_the_default_of_logging_and_discovery() -> None:
    settings = load({"app": {"name": "shop"}, "plugins": PLUGINS})
    assert settings.document.problems == []
    assert services(settings) == {"logging": "shop", "discovery": "shop"}
    assert settings.context().name == "shop"
    assert services(load({"plugins": PLUGINS})) == {"logging": "", "discovery": ""}


@pytest.mark.parametrize("said", ["other", ""])
def test_the_key_of_a_plugin_takes_precedence(said: str) -> None:
    plugins = {name: {**table, "service": said} for name, table in PLUGINS.items() if name != "metrics"}
    settings = load({"app": {"name": "shop"}, "plugins": plugins})
    assert services(settings) == {"logging": said, "discovery": said}


@pytest.mark.parametrize(("table", "service"), [({}, ""), ({"source": "static"}, ""), ({"source": "CONSUL"}, "shop")])
def test_discovery_uses_the_name_only_with_consul(table: dict[str, Any], service: str) -> None:
    settings = load({"app": {"name": "shop"}, "plugins": {"discovery": table}})
    assert settings.document.problems == []
    assert services(settings) == {"discovery": service}


@pytest.mark.parametrize("name", ["a shop", "-", "ü", "x" * 200])
def test_an_invalid_name_is_reported_once(name: str) -> None:
    (problem,) = load({"app": {"name": name}, "plugins": PLUGINS}).document.problems
    assert (problem.key, "expected a name of letters, digits" in problem.message) == ("app.name", True)


def test_the_name_is_the_title_of_the_dashboard_and_shown_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('[app]\nname = "shop"\n[plugins.metrics]\n[plugins.logging]\n')
    for words, title in (([], "shop"), (["--title", "Shop"], "Shop")):
        command = ["metrics", "dashboard", "--directory", str(tmp_path), *words, "-c", str(file)]
        assert CliRunner().invoke(group, command).exit_code == 0
        assert json.loads((tmp_path / "dashboard.json").read_text())["title"] == title
    shown = CliRunner().invoke(group, ["config", "show", "-c", str(file)]).output
    assert f'plugins.logging.service = "shop"  # {file}:2' in shown


def test_a_configuration_in_code_has_the_name_too() -> None:
    assert create_app({"app": {"name": "shop"}}, app=bare_application).context.name == "shop"
