"""``scalekit new``: a folder that works, to change into one's own."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

SUFFIX = ".txt"
"""Templates have it so that no tool takes them for what they become."""


@click.group()
def new() -> None:
    """Make a new plugin or application in a folder of its own."""


@new.command()
@click.argument("name")
def plugin(name: str) -> None:
    """Make a plugin called NAME, with README, tests and a pyproject.toml that installs it."""
    package = _package_name(name)
    folder = Path(f"scalekit-{package.replace('_', '-')}")
    _write("plugin", folder, name, package)
    click.echo(f"made {folder}; next: cd {folder} && pip install -e '.[test]' && pytest && scalekit plugins")


@new.command()
@click.argument("name")
def app(name: str) -> None:
    """Make a service called NAME, with a scalekit.toml and tests."""
    package = _package_name(name)
    if package == "tests" or package in sys.stdlib_module_names or PathFinder.find_spec(package, _installed()):
        message = f"a module {package!r} is there already, which the service would hide; choose another name"
        raise click.BadParameter(message, param_hint="NAME")
    folder = Path(name)
    _write("app", folder, name, package)
    click.echo(f"made {folder}; next: cd {folder} && pip install -e '.[test]' && pytest && scalekit run")


def _package_name(name: str) -> str:
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise click.BadParameter(f"expected lower-case words such as user-cache, got {name!r}", param_hint="NAME")
    return package


def _installed() -> list[str]:
    """Return where modules are imported from, without the folder that a command runs in."""
    return [entry for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]


def _write(kind: str, folder: Path, name: str, package: str) -> None:
    if folder.exists():
        raise click.UsageError(f"{folder} is there already; choose another name or remove it")
    words = {
        "name": name,
        "package": package,
        "dashed": package.replace("_", "-"),
        "title": package.title().replace("_", ""),
        "version": version("scalekit-asgi"),
    }
    _render(files("scalekit") / "templates" / kind, folder, words)


def _render(source: Traversable, target: Path, words: dict[str, str]) -> None:
    target.mkdir()
    for entry in source.iterdir():
        path = target / entry.name.replace("NAME", words["package"]).removesuffix(SUFFIX)
        if entry.is_dir():
            _render(entry, path, words)
        else:
            path.write_text(Template(entry.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
