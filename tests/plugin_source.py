"""Plugins whose source is part of a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Protocol

import pytest


class Install(Protocol):
    def __call__(self, name: str, source: str, *, distribution: str = ..., extras: tuple[str, ...] = ...) -> str: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a plugin with *source* for one test and returns its module name."""
    modules: list[str] = []

    def install(name: str, source: str, *, distribution: str = "", extras: tuple[str, ...] = ()) -> str:
        distribution = distribution or f"dist-{name}"
        folder = tmp_path / f"site-{distribution}"
        module = f"module_{distribution.replace('-', '_')}_{len(modules)}"
        information = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        information.mkdir(parents=True)
        provided = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{provided}"
        (information / "METADATA").write_text(metadata)
        (information / "entry_points.txt").write_text(f"[scalekit]\n{name} = {module}\n")
        (folder / f"{module}.py").write_text(dedent(source))
        monkeypatch.syspath_prepend(str(folder))
        modules.append(module)
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)
