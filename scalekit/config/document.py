"""Read the file, the files that it extends and the overrides into one tree that records the origin of each value."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from scalekit.config.environment import is_utf8, substitute
from scalekit.config.password_mask import mask_passwords, mask_url
from scalekit.config.positions import Path, positions
from scalekit.config.syntax_errors import explain
from scalekit.errors import ConfigError, Problem

Source = str | os.PathLike[str] | Mapping[str, Any]

MAX_DEPTH = 64
"""Keys and indexes in the path of a value, at most: reading and validating values is recursive."""
TOO_DEEP = f"tables or arrays are nested deeper than {MAX_DEPTH} levels; reduce the nesting"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value is defined: a line of a file, ``--set`` or code, and the variables that it references."""

    file: str = ""
    line: int = 0
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the origin in the format of ``scalekit config show``."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ", ".join([place, *(f"environment {name}" for name in self.variables)])


@dataclass(slots=True)
class Document:
    """The merged tree of values.

    *literals* has the TOML value of each text from the environment or the command line: ``5`` is a string for a key of
    type string, and a number for a key of type integer. *templates* has the text of each value that references the
    environment, before the substitution. *causes* are the exceptions behind problems, for tracebacks.
    """

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)
    literals: dict[Path, Any] = field(default_factory=dict)
    templates: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    causes: list[Exception] = field(default_factory=list)

    @property
    def cause(self) -> Exception | None:
        """The exception behind the problems, a group when there are several, or None."""
        return ExceptionGroup("causes", self.causes) if len(self.causes) > 1 else next(iter(self.causes), None)

    def origin(self, path: Path) -> Origin:
        """Return the origin of the value at *path*, or of the nearest enclosing table."""
        for size in range(len(path), 0, -1):
            if path[:size] in self.origins:
                return self.origins[path[:size]]
        return Origin(self.name)

    def table(self, name: str) -> dict[str, Any]:
        """Return the top-level table *name*, or an empty one."""
        found = self.data.get(name, {})
        return found if isinstance(found, dict) else {}

    def report(self, path: Path, message: str, plugin: str = "") -> None:
        """Add a problem with the value at *path*."""
        self.problems.append(self.problem(path, message, plugin))

    def fatal_error(self, path: Path, message: str) -> ConfigError:
        """Return the error for a mistake after which reading cannot continue, with all problems so far."""
        return ConfigError([*self.problems, self.problem(path, message)])

    def problem(self, path: Path, message: str, plugin: str = "") -> Problem:
        """Return a problem with the value at *path*."""
        origin = self.origin(path)
        return Problem(mask_passwords(message), mask_passwords(dotted(path)), origin.file, origin.line, plugin)

    def with_location(self, problem: Problem) -> Problem:
        """Return *problem* with the file and line of its key, or of the nearest enclosing table."""
        if problem.file or not problem.key:
            return problem
        origins = {dotted(path): origin for path, origin in self.origins.items()}
        key = problem.key
        while key and key not in origins:
            key = key[: max(0, key.rfind("."), key.rfind("["))]
        origin = origins.get(key, Origin(self.name))
        return replace(problem, file=origin.file, line=origin.line)


def dotted(path: Path) -> str:
    """Return *path* in the notation of messages, such as ``plugins.pool.urls[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(source: Source, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Document:
    """Read *source*, a file or a mapping, apply *overrides* (``key=value``) and substitute environment variables.

    Raises ConfigError when a file cannot be read or parsed; all other mistakes are added to the document's problems.
    """
    if isinstance(source, Mapping):
        document = _with_base(Document("configuration", deepcopy(dict(source))), FilePath.cwd(), ())
    else:
        file = FilePath(source)
        document = _with_base(_parse(file), file.parent, (file.resolve(),))
    for override in overrides:
        _override(document, override)
    _substitute_environment(document, os.environ if environment is None else environment)
    return document


def _with_base(document: Document, folder: FilePath, seen: tuple[FilePath, ...]) -> Document:
    base = document.data.pop("extends", None)
    if base is None:
        return document
    if not isinstance(base, str):
        document.report(("extends",), f"expected the name of one file, got {type(base).__name__}")
        return document
    file, shown = folder / base, repr(mask_url(base))
    if not os.path.isfile(file):  # Path.is_file raises for invalid names
        raise document.fatal_error(("extends",), f"there is no file {shown} in {folder}")
    if file.resolve() in seen:
        raise document.fatal_error(("extends",), f"{shown} extends this file in turn; remove one of the two keys")
    below = _with_base(_parse(file), file.parent, (*seen, file.resolve()))
    _merge(below, document, ())
    below.name = document.name
    below.problems += document.problems
    return below


def _parse(file: FilePath) -> Document:
    name, text = str(file), ""
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        data = tomllib.loads(text)
        lines = positions(text)
    except FileNotFoundError:
        hint = "no such file; name an existing one, or create one with `scalekit new app NAME`"
        raise ConfigError([Problem(hint, file=name)]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem("contains bytes that are not UTF-8; save the file as UTF-8", file=name, line=line)]
        ) from None
    except OSError as error:
        raise ConfigError([Problem(f"cannot be read: {error}", file=name)]) from None
    except tomllib.TOMLDecodeError as error:
        message, line = explain(text, error)
        raise ConfigError([Problem(message, file=name, line=line)]) from None
    except RecursionError:
        raise ConfigError([Problem(TOO_DEEP, file=name)]) from None
    for path, line in lines.items():
        if len(path) > MAX_DEPTH:
            raise ConfigError([Problem(TOO_DEEP, str(path[0]), name, line)])
    return Document(name, data, {path: Origin(name, line) for path, line in lines.items()})


def _merge(below: Document, above: Document, path: Path) -> None:
    """Merge *above* into *below*: tables are merged, all other values replaced."""
    for key, value in _node(above.data, path).items():
        here = (*path, key)
        target = _node(below.data, path)
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            below.origins[here] = above.origin(here)
            _merge(below, above, here)
        else:
            _remove_origins(below, here)
            target[key] = value
            below.origins |= {at: origin for at, origin in above.origins.items() if at[: len(here)] == here}


def _node(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _remove_origins(document: Document, path: Path) -> None:
    for at in [at for at in document.origins if at[: len(path)] == path]:
        del document.origins[at]


def _override(document: Document, override: str) -> None:
    name, equals, text = override.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not equals or not all(keys) or len(keys) > MAX_DEPTH or not is_utf8(override):
        # The text is not shown: it may contain a secret.
        document.problems.append(Problem("expected key=value in UTF-8, such as server.port=9000", file="--set"))
        return
    node = document.data
    for size, key in enumerate(keys[:-1], 1):
        if key not in node:
            document.origins[tuple(keys[:size])] = Origin("--set")
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            document.problems.append(Problem(f"{key!r} is not a table", name, "--set"))
            return
    path = tuple(keys)
    _remove_origins(document, path)
    literal = _literal(text)
    is_table = isinstance(literal, dict) and (len(keys) == 1 or (len(keys) == 2 and keys[0] == "plugins"))
    node[keys[-1]] = literal if is_table or isinstance(literal, str) else text
    document.literals[path] = literal
    document.origins[path] = Origin("--set")


def _literal(text: str) -> Any:
    """Return *text* as a TOML value, or None when it is not valid TOML."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return tomllib.loads(f"value = {text}").get("value")
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _substitute_environment(document: Document, environment: Mapping[str, str]) -> None:
    """Replace each ``${NAME}`` in the document's strings; report each unset variable as a problem."""

    def filled(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: filled(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [filled(each, (*path, index)) for index, each in enumerate(value)]
        if not isinstance(value, str) or "$" not in value:
            return value
        document.templates[path] = value
        result = substitute(value, environment)
        for mistake in result.mistakes:
            document.report(path, mistake)
        if result.names:
            origin = document.origin(path)
            document.origins[path] = replace(origin, variables=result.names)
        if result.is_one_reference or path in document.literals:
            document.literals[path] = _literal(result.text)
        return result.text

    document.data = filled(document.data, ())
