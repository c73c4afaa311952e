"""What the code imports is what pyproject.toml requires: of the host always, of a plugin with its extra."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.dist.environments import DEVELOPMENT

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = "scalekit-asgi"
PACKAGES = [ROOT / "scalekit", *sorted(ROOT.glob("plugins/scalekit_*")), *sorted(ROOT.glob("plugins/lib/scalekit_*"))]
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "scalekit": ("reload",),
    "scalekit_pool": ("pool", "mysql", "alembic"),
}
"""Extras of packages that have others than one of their own name."""
OPTIONAL = {
    "asgiref": "Django requires it",
    "django": "the application brings its framework",
    "fastapi": "the application brings its framework",
    "opentelemetry": "the application brings the API whose spans the plugin tracing records",
}
"""Modules that are imported only when the application has them, with the reason."""
NOT_IMPORTED = {
    "uvloop": "uvicorn finds it",
    "websockets": "uvicorn imports it",
}
"""Requirements that no module imports, with the reason."""
WITHOUT_CEILING = {"cryptography": "its security fixes are major versions"}


@cache
def imports(package: Path) -> dict[str, set[str]]:
    """Return the distributions that *package* imports at run time, each with the names of its modules."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for name in _imported(ast.parse(path.read_text())):
            if not _is_ours_or_standard(name) and name not in OPTIONAL:
                for distribution in packages_distributions_of(name):
                    found.setdefault(distribution, set()).add(name)
    return found


def packages_distributions_of(name: str) -> set[str]:
    """Return the installed distributions with the top-level module *name*, or *name* itself when there is none."""
    return {str(canonicalize_name(each)) for each in _distributions().get(name, [name])}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield the top-level names of all imports below *node*, except those of type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for branch in child.orelse:
                yield from _imported(branch)
        elif isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.partition(".")[0]
        else:
            yield from _imported(child)


def _is_ours_or_standard(name: str) -> bool:
    return name in sys.stdlib_module_names or name == "scalekit" or name.startswith("scalekit_")


def required(extras: Iterable[str]) -> set[str]:
    """Return the names of the distributions that an installation with *extras* requires directly."""
    optional: Mapping[str, list[str]] = PROJECT["optional-dependencies"]
    waiting = [*PROJECT["dependencies"], *(line for extra in extras for line in optional.get(extra, []))]
    found = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == OURS:
            waiting += [line for extra in requirement.extras for line in optional[extra]]
        else:
            found.add(str(canonicalize_name(requirement.name)))
    return found


def extras_of(package: Path) -> tuple[str, ...]:
    return EXTRAS.get(package.name, (package.name.removeprefix("scalekit_").replace("_", "-"),))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_requires_what_it_imports(package: Path) -> None:
    declared = required(extras_of(package))
    missing = {name: modules for name, modules in imports(package).items() if name not in declared}
    assert missing == {}, f"declare it in the extras {extras_of(package)}"


def test_every_requirement_is_imported() -> None:
    imported = {name for package in PACKAGES for name in imports(package)}
    users = set(PROJECT["optional-dependencies"]) - DEVELOPMENT
    assert required(users) - imported - set(NOT_IMPORTED) == set()


def test_every_requirement_has_a_floor_and_a_ceiling() -> None:
    users = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in DEVELOPMENT}
    for line in [*PROJECT["dependencies"], *(line for lines in users.values() for line in lines)]:
        requirement = Requirement(line)
        operators = {specifier.operator for specifier in requirement.specifier}
        wanted = {">="} if requirement.name in WITHOUT_CEILING else {">=", "<"}
        assert operators == wanted or requirement.name == OURS, line


def test_one_distribution_has_the_same_bounds_everywhere() -> None:
    bounds: dict[str, set[str]] = {}
    users = [lines for name, lines in PROJECT["optional-dependencies"].items() if name not in DEVELOPMENT]
    for line in [*PROJECT["dependencies"], *(line for lines in users for line in lines)]:
        requirement = Requirement(line)
        if requirement.name != OURS:
            bounds.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_all_has_every_extra_of_users() -> None:
    (line,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(line).extras == set(PROJECT["optional-dependencies"]) - DEVELOPMENT - {"all"}


def test_every_plugin_with_requirements_has_an_extra_of_its_name() -> None:
    for package in PACKAGES[1:]:
        if set(imports(package)) - required(()):
            assert extras_of(package)[0] in PROJECT["optional-dependencies"], package.name
