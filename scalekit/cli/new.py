"""``scalekit new``: create a plugin or an application from a template."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

SUFFIX = ".txt"
"""Suffix of template files, so that tools do not treat them as code."""


FRAMEWORKS: Mapping[str, Mapping[str, str]] = {
    "fastapi": {"framework_name": "FastAPI", "framework_requirement": '    "fastapi>=0.140",\n'},
    "starlette": {"framework_name": "Starlette", "framework_requirement": ""},
}
"""Values of the templates by framework; Starlette is a dependency of ScaleKit."""


@click.group()
def new() -> None:
    """Create a plugin or an application in a new folder."""


@new.command()
@click.argument("name")
def plugin(name: str) -> None:
    """Create the plugin NAME with README, tests and pyproject.toml."""
    package = _package_name(name)
    folder = Path(f"scalekit-{package.replace('_', '-')}")
    _write(["plugin"], folder, name, package)
    click.echo(f"created {folder}; next: cd {folder} && pip install -e '.[test]' && pytest && scalekit plugins")


@new.command()
@click.argument("name")
@click.option(
    "--framework",
    type=click.Choice(list(FRAMEWORKS)),
    default="fastapi",
    show_default=True,
    help="Framework of the application.",
)
def app(name: str, framework: str) -> None:
    """Create the service NAME: code, tests, configuration, Dockerfile, compose.yaml and CI."""
    package = _package_name(name)
    if package == "tests" or package in sys.stdlib_module_names or PathFinder.find_spec(package, _installed()):
        message = f"a module {package!r} exists, which the service would hide; choose another name"
        raise click.BadParameter(message, param_hint="NAME")
    folder = Path(name)
    _write(["app", f"app_{framework}"], folder, name, package, FRAMEWORKS[framework])
    click.echo(f"created {folder}; next: cd {folder} && pip install -e '.[dev]' && pytest && scalekit run")


def _package_name(name: str) -> str:
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise click.BadParameter(f"expected lower-case words such as user-cache, got {name!r}", param_hint="NAME")
    return package


def _installed() -> list[str]:
    """Return the import path without the current folder."""
    return [entry for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]


def _write(
    templates: Sequence[str], folder: Path, name: str, package: str, more_values: Mapping[str, str] | None = None
) -> None:
    if folder.exists():
        raise click.UsageError(f"{folder} exists; choose another name or remove it")
    values = {
        "name": name,
        "package": package,
        "dashed": package.replace("_", "-"),
        "title": package.title().replace("_", ""),
        "version": version("scalekit-asgi").partition("+")[0],  # a local version is in no index
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        **(more_values or {}),
    }
    for template in templates:
        _render(files("scalekit") / "templates" / template, folder, values)


def _render(source: Traversable, target: Path, values: dict[str, str]) -> None:
    target.mkdir(exist_ok=True)
    for entry in source.iterdir():
        path = target / entry.name.replace("NAME", values["package"]).removesuffix(SUFFIX)
        if entry.is_dir():
            _render(entry, path, values)
        else:
            path.write_text(Template(entry.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
