"""Names and sizes that keep the code findable: nouns for files, one class per name, no crumbs, few parameters."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.cache.conftest import EVERYWHERE

ROOT = Path(__file__).parent.parent
CODE = sorted(path for folder in ("scalekit", "plugins", "sample_app") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PROSE = sorted(path for folder in ("docs", "plugins", "k6") for path in (ROOT / folder).rglob("*.md"))

MAX_PARAMETERS = 5
SMALL = 40
"""Lines of a file below which it belongs into its only importer."""
FIXED = frozenset({"__init__", "__main__", "plugin", "config", "filters", "commands", "metrics", "pages", "factory"})
"""Names of files that every plugin may have, whatever their size."""
ENTRY_POINTS = frozenset({"scalekit.asgi"})
"""Modules that something outside of the code names."""
NOUNS = frozenset(
    {"pending", "tracking", "sampling", "shedding", "warning", "framing", "pipelining", "matching", "timing"}
)
"""Words in -ing that are terms of the field: client tracking, tail sampling, load shedding, Server Timing."""
FOR_PACKAGES = frozenset(
    {
        "scalekit/__init__.py",
        "scalekit/contracts/__init__.py",
        "scalekit/deploy/__init__.py",
        "scalekit/testing/__init__.py",
    }
)
"""Packages that show modules of their own to plugins."""
APART = frozenset(
    {"scalekit.http.allowed_hosts", "scalekit_jwt.openapi", "scalekit_tracing.opentelemetry.registration"}
)
"""Small modules that stay apart: a filter, and modules whose library is imported only where it is used."""
OF_A_LIBRARY = frozenset({"start_span", "start_as_current_span"})
"""Functions whose parameters are those of a library's interface."""
TEST_FOLDER = ROOT / "tests"
APART_FROM_CODE = frozenset(
    {"integration", "fuzz", "load", "drill", "gate", "bench", "dist", "documentation", "tutorial"}
)
"""Folders of tests that mirror no module: of several modules together, or of the tests' own tools."""
IGNORED_WITHOUT_REASON = re.compile(r"# (type: ignore(\[[^]]*\])?|noqa(: [A-Z0-9, ]+)?)\s*$")
RIDDLES = re.compile(r"\b(who|whoever|nobody|somebody|anybody) (asks|waits|needs|shows)\b", re.IGNORECASE)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    for prefix in (["plugins", "lib"], ["plugins"]):
        if parts[: len(prefix)] == prefix:
            parts = parts[len(prefix) :]
            break
    return ".".join(parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Return the modules that *path* may import."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_named_by_nouns(path: Path) -> None:
    last = path.stem.rpartition("_")[2]
    assert not last.endswith("ing") or last in NOUNS, "name the thing, not the doing"


def test_no_two_public_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in CODE:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module_of(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_a_small_file_with_one_importer_is_part_of_that() -> None:
    importers: dict[str, set[Path]] = defaultdict(set)
    for path in CODE:
        for name in imported(path):
            importers[name].add(path)
    crumbs = {
        module_of(path): len(importers[module_of(path)])
        for path in CODE
        if len(path.read_text().splitlines()) < SMALL
        and path.stem not in FIXED
        and not {"cli", "sample_app"} & set(path.parts)
    }
    shown = {name for name in crumbs if any(str(path.relative_to(ROOT)) in FOR_PACKAGES for path in importers[name])}
    assert {name for name, count in crumbs.items() if count < 2} - ENTRY_POINTS - APART - shown == set()


def test_functions_have_few_positional_parameters() -> None:
    found = []
    for path in CODE:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
                if "cli" in path.parts or "commands" in path.stem:
                    continue  # click passes options by name
                if node.name in OF_A_LIBRARY:
                    continue
                if len([name for name in arguments if name not in ("self", "cls")]) > MAX_PARAMETERS:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert found == []


@pytest.mark.parametrize("path", [*CODE, *TESTS, *PROSE], ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_names_its_subject(path: Path) -> None:
    if path != Path(__file__):
        assert RIDDLES.findall(path.read_text()) == []


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_checker_ignores_has_a_reason(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if IGNORED_WITHOUT_REASON.search(line)] == []


def test_tests_mirror_the_code_by_path() -> None:
    """``test_freshness_dates.py`` is of ``freshness.py``; tests of several modules are in folders named integration."""
    modules: dict[Path, set[str]] = defaultdict(set)
    for path in CODE:
        modules[mirror_of(path.parent)].add(path.stem if path.stem != "__init__" else path.parent.name)
    mirrored = [path for path in TESTS if path.stem.startswith("test_") and _mirrors_code(path)]
    misplaced = [
        str(path.relative_to(ROOT))
        for path in mirrored
        if not any(f"{path.stem}_".startswith(f"test_{name}_") for name in modules[path.parent])
    ]
    assert misplaced == []


def _mirrors_code(path: Path) -> bool:
    parts = path.relative_to(TEST_FOLDER).parent.parts
    return bool(parts) and not APART_FROM_CODE & set(parts)


def mirror_of(folder: Path) -> Path:
    """Return the folder with the tests of the code in *folder*."""
    first, *rest = folder.relative_to(ROOT).parts
    if first == "plugins" and rest:
        names = [part.removeprefix("scalekit_") for part in rest[:2]] + rest[2:]
        return TEST_FOLDER.joinpath(*names)
    return TEST_FOLDER.joinpath({"scalekit": "host"}.get(first, first), *rest)


def test_every_suite_that_runs_on_every_store_exists() -> None:
    suites = {path.stem for folder in ("cache", "lib/caching") for path in (ROOT / "tests" / folder).rglob("test_*.py")}
    assert set(EVERYWHERE) - suites == set(), "renamed without its runs on Redis and its cluster"
