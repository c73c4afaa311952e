"""Files and folders that a service writes, and where they are in a container."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel

from scalekit.config.deploy_mark import DATA_PATH, marked_values
from scalekit.config.document import dotted
from scalekit.config.positions import Path
from scalekit.config.url import Url
from scalekit.deploy.environment import sole_variable
from scalekit.errors import ConfigError, Problem
from scalekit.settings import Settings

FOLDER = "/data"
"""Folder of a container for files whose paths are relative."""


@dataclass(frozen=True, slots=True)
class DataPath:
    """A *path* that the service writes, the value of *key*; with *scheme* the value is a URL.

    *variable* is the environment variable that has the whole value, empty when there is none. *is_set* is whether the
    file has the key.
    """

    key: str
    path: str
    scheme: str = ""
    variable: str = ""
    is_set: bool = True

    @property
    def is_relative(self) -> bool:
        """Whether the path is relative to the folder in which the service starts."""
        return not PurePosixPath(self.path).is_absolute()

    @property
    def folder(self) -> str:
        """The folder of a container to which the path belongs, which outlives the container."""
        return FOLDER if self.is_relative else str(PurePosixPath(self.path).parent)

    @property
    def value(self) -> str:
        """The value of the key in a container."""
        return self.value_in(FOLDER)

    def value_in(self, folder: str) -> str:
        """Return the value of the key when a relative path is one of *folder*, which has no folders inside."""
        names = [part for part in PurePosixPath(self.path).parts if part != ".."]
        path = f"{folder}/{'-'.join(names)}" if self.is_relative else self.path
        return f"{self.scheme}:///{path}" if self.scheme else path


def data_paths(settings: Settings, plugins_with_servers: Container[str]) -> tuple[DataPath, ...]:
    """Return the files and folders that the service writes: SQLite databases, and values of marked keys.

    The default database of a table is in use unless its plugin connects to a server. Raises ConfigError for a path that
    generated files cannot contain.
    """
    found = _paths(settings)
    used = [each for each in found if each.is_set or each.key.split(".")[1] not in plugins_with_servers]
    if invalid := [each for each in used if not each.path.isprintable()]:
        message = "a path in generated files has no ends of lines and control characters"
        raise ConfigError([Problem(f"{message}, got {each.path!r}", each.key) for each in invalid])
    return tuple(sorted(used, key=lambda each: each.key))


def _paths(settings: Settings) -> Iterator[DataPath]:
    origins = settings.document.origins
    for name, table in settings.tables.items():
        for path, url in _urls(table, ("plugins", name)):
            if url.scheme == "sqlite" and url.file:
                yield DataPath(dotted(path), url.file, url.scheme, sole_variable(settings, path), path in origins)
        for path, value in marked_values(table, DATA_PATH, ("plugins", name)):
            yield DataPath(dotted(path), str(value), "", sole_variable(settings, path), path in origins)


def _urls(value: Any, path: Path) -> Iterator[tuple[Path, Url]]:
    """Yield path and value of every URL in *value*, a table or a value of one."""
    if isinstance(value, Url):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _urls(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _urls(each, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _urls(each, (*path, index))
