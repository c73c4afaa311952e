"""The layout of the repository follows its rules."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import scalekit
import scalekit_visits.plugin
from scalekit import Table, hookspecs
from scalekit.config.descriptions import descriptions
from scalekit.config.server_tls import ServerTls
from scalekit.config.tables import App, Health, Memory, Server
from scalekit.testing.conformance import TABLE_CELL
from tests.documents import documents

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted(path for path in (ROOT / "plugins").glob("scalekit_*") if path.is_dir())
CODE = sorted(path for folder in ("scalekit", "plugins", "sample_app") for path in (ROOT / folder).rglob("*.py"))
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("scalekit_"))

LONGEST_FILE = 300
LONGEST_FUNCTION = 50


class Module(NamedTuple):
    """Facts of a file, without its syntax tree, which would slow the garbage collector."""

    imports: list[str]
    names: dict[str, set[str]]
    functions: dict[str, int]
    asserts: list[int]


@cache
def read(path: Path) -> Module:
    """Return the imported modules and names, the longest function of each name in lines, and the lines that assert."""
    module = Module([], {}, {}, [])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            module.imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module.imports.append(node.module or "")
            module.names.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno
            module.functions[node.name] = max(length, module.functions.get(node.name, 0))
        elif isinstance(node, ast.Assert):
            module.asserts.append(node.lineno)
    return module


def test_every_plugin_folder_is_an_entry_point_and_back() -> None:
    declared: dict[str, str] = PROJECT["project"].get("entry-points", {}).get("scalekit", {})
    assert {f"scalekit_{name.replace('-', '_')}.plugin" for name in declared} == set(declared.values())
    assert {value.removesuffix(".plugin") for value in declared.values()} == {folder.name for folder in PLUGINS}
    ours = {point.name: point.value for point in entry_points(group="scalekit") if point.name in declared}
    assert ours == declared, "an entry point is new: python -m pip install --no-deps --no-build-isolation -e ."


def test_the_host_imports_no_plugin_and_plugins_import_no_other() -> None:
    names = {folder.name for folder in PLUGINS} | {"plugins"}
    for path in CODE:
        own = path.relative_to(ROOT / "plugins").parts[0] if path.is_relative_to(ROOT / "plugins") else ""
        foreign = {name.partition(".")[0] for name in read(path).imports} & (names - {own})
        assert not foreign or path.is_relative_to(ROOT / "sample_app"), f"{path} imports {foreign}"


PLUGIN_API = {
    "scalekit",
    "scalekit.contracts",
    "scalekit.deploy",
    "scalekit.pages",
    "scalekit.telemetry",
    "scalekit.testing",
}
LIBRARIES = ("scalekit_caching", "scalekit_redis")


def test_plugins_import_only_the_public_packages_of_the_host() -> None:
    for path in (ROOT / "plugins").rglob("*.py"):
        internal = {name for name in read(path).imports if name.startswith("scalekit.")} - PLUGIN_API
        assert not internal, f"{path} imports {internal}; import from {', '.join(sorted(PLUGIN_API))}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_plugins_import_only_the_public_names_of_a_library(library: str) -> None:
    public = set(import_module(library).__all__)
    for path in (ROOT / "plugins").rglob("*.py"):
        if path.is_relative_to(ROOT / "plugins/lib" / library):
            continue
        module = read(path)
        internal = {name for name in module.imports if name.startswith(f"{library}.")}
        internal |= module.names.get(library, set()) - public
        assert not internal, f"{path} imports {internal}; import a name in {library}.__all__"


def test_no_product_code_imports_helpers_of_tests() -> None:
    users = [str(path) for path in CODE if any(name.startswith("scalekit.testing") for name in read(path).imports)]
    assert [path for path in users if "/testing/" not in path] == []


def test_only_one_module_uses_the_plugin_manager() -> None:
    users = [path.name for path in CODE if "PluginManager" in path.read_text()]
    assert users == ["plugins.py"]


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short_and_check_users_without_assert(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    module = read(path)
    assert {name: length for name, length in module.functions.items() if length > LONGEST_FUNCTION} == {}
    may_assert = path.name == "conformance.py"
    assert may_assert or not module.asserts, f"lines {module.asserts}: assert vanishes under -O; raise instead"


def test_all_lists_every_public_name() -> None:
    visible = {name for name, value in vars(scalekit).items() if not name.startswith("_") and hasattr(value, "__doc__")}
    modules = {name for name in visible if type(getattr(scalekit, name)).__name__ == "module"}
    assert set(scalekit.__all__) == visible - modules


def test_the_plugin_of_the_tests_uses_every_hook() -> None:
    assert [name for name in HOOKS if hasattr(scalekit_visits.plugin, name)] == HOOKS


def test_every_hook_is_in_the_handbook_with_its_arguments() -> None:
    handbook = (ROOT / "plugins/README.md").read_text()
    for name in HOOKS:
        arguments = ", ".join(getattr(hookspecs, name).__annotations__.keys() - {"return"})
        assert f"| `{name}({arguments})` |" in handbook


def in_toml(value: object) -> str:
    """Return the default *value* of a key as TOML."""
    if type(value) in (bool, int, str):
        return json.dumps(value)
    return json.dumps(value if isinstance(value, dict) else list(value) if isinstance(value, tuple) else str(value))


@pytest.mark.parametrize(
    ("table", "model"),
    [("app", App), ("server", Server), ("server.tls", ServerTls), ("server.memory", Memory), ("health", Health)],
)
def test_the_page_documents_every_key_of_the_host_with_its_default(table: str, model: type[Table]) -> None:
    section = (ROOT / "docs/configuration.md").read_text().partition(f"## `[{table}]`\n")[2].partition("\n#")[0]
    documented = {key: default.strip() for key, default in TABLE_CELL.findall(section)}
    keys = {name: field for name, field in model.model_fields.items() if not isinstance(field.default, Table)}
    assert list(documented) == list(keys)
    for name, field in keys.items():
        assert name in descriptions(model)
        if field.is_required():
            assert documented[name] == "required"
        else:
            assert documented[name] == ("none" if field.default is None else f"`{in_toml(field.default)}`"), name


def test_links_between_documents_lead_somewhere() -> None:
    for document in documents():
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document}: {target}"


def test_no_file_has_a_path_of_one_machine() -> None:
    for path in [*CODE, *ROOT.glob("*.*"), *ROOT.glob("k6/**/*.js"), ROOT / "Makefile", ROOT / ".ci/run"]:
        if path.is_file() and path.name != ".git":
            assert not re.search(r"/(root|home|work)/", path.read_text(errors="replace")), path


def test_every_supported_python_is_tested_by_the_same_commands() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    (matrix,) = re.findall(r"python: \[(.+)\]", workflow)
    versions = [tuple(map(int, word.strip('" ').split("."))) for word in matrix.split(",")]
    assert versions == [(3, minor) for minor in range(11, versions[-1][1] + 1)]
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    gate = workflow.partition("\n  macos:")[0]
    runs = re.findall(r"run: (make \w+)", gate)
    assert runs == re.findall(r"^make \w+", (ROOT / ".ci/run").read_text(), re.MULTILINE)
