"""Packages depend on each other in one direction.

Modules at the root, such as ``scalekit/errors.py`` and ``scalekit/app.py``, are nodes of their own; every package below
is one node. The root's ``__init__`` only shows names. Imports in functions and for type checkers do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent


def modules() -> dict[str, Path]:
    """Return the file of each module by its dotted name."""
    found = {}
    for base in ("scalekit", "plugins/lib", "plugins"):
        start = ROOT if base == "scalekit" else ROOT / base
        for path in (ROOT / base).rglob("*.py"):
            name = ".".join(path.relative_to(start).with_suffix("").parts)
            if not name.startswith("lib."):
                found[name] = path
    return found


def node_of(module: str) -> str:
    package = module.rpartition(".")[0]
    return package if "." in package else module


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            yield from submodules or {node.module, f"{node.module}.__init__"} & known.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known.keys()


def test_packages_have_no_cycles() -> None:
    known = modules()
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        needed = {node_of(name) for name in imported(path, known)} - {node_of(module)}
        graph.setdefault(node_of(module), set()).update(needed)
    roots = {node for node in graph if node.endswith(".__init__")}
    TopologicalSorter({node: needed - roots for node, needed in graph.items() if node not in roots}).prepare()
