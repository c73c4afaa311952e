"""Load a file whose environment variables are not set here, because the service runs elsewhere.

Each variable that is missing gets a placeholder of the kind that its key accepts. Placeholders never leave this
process: generated files name the variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from scalekit.config.document import dotted
from scalekit.config.environment import references
from scalekit.errors import ConfigError, Problem
from scalekit.settings import Settings, load

SECRET = "placeholder-of-a-secret-that-is-set-elsewhere-0123456789abcdef"
CANDIDATES: Sequence[tuple[str, str]] = (
    (r"SECRET|PASSWORD|TOKEN|KEY$", SECRET),
    (r"PORT$", "8000"),
    (r"AMQP|RABBIT", "amqp://user:password@{host}:5672/"),
    (r"NODES?$", "{host}:6379"),
    (r"CLUSTER", "redis-cluster://{host}:6379"),
    (r"REDIS|VALKEY|CACHE|LIMIT|BROADCAST", "redis://{host}:6379/0"),
    (r"MYSQL|MARIADB", "mysql://user:password@{host}:3306/name"),
    (r"DATABASE|POSTGRES|REPLICA|^PG|DB|QUEUE", "postgresql://user:password@{host}:5432/name"),
    (r"URL|ADDR|ENDPOINT|HOST|CONSUL", "http://{host}:8080"),
    (r"NETWORK|PROXIES|CIDR", "10.0.0.0/8"),
    (r"TIMEOUT|INTERVAL|TTL|DELAY", "30s"),
    (r"SIZE|MAX|LIMIT", "64MiB"),
    (r"RATE", "100/s"),
    (r"WORKERS|COUNT", "2"),
    (r"ENABLED|DEBUG", "true"),
    (r"", "{host}"),
)
"""Words in the name of a variable, and the placeholder that is tried first for it; then the others are tried."""


FITS = (0, 0)
REMEDY = "set it as in the environment of the service"


def load_with_placeholders(source: str, overrides: Sequence[str]) -> Settings:
    """Return the settings of the file *source*, with a placeholder for each variable that the environment lacks.

    Raises ConfigError with every mistake, one for each variable for which no placeholder fits.
    """
    missing = _missing_variables(source, overrides)
    placeholders = {name: next(_candidates(name)) for name in missing}
    settings = load(source, overrides, (), {**os.environ, **placeholders})
    for name, keys in missing.items():
        for candidate in _candidates(name) if _rank(settings, keys) > FITS else ():
            attempt = load(source, overrides, (), {**os.environ, **placeholders, name: candidate})
            if _rank(attempt, keys) < _rank(settings, keys):
                settings, placeholders[name] = attempt, candidate
            if _rank(settings, keys) == FITS:
                break
    _raise_problems(settings, missing)
    return settings


def _missing_variables(source: str, overrides: Sequence[str]) -> Mapping[str, list[str]]:
    """Return the keys that reference each variable that is not set and has no default."""
    document = load(source, overrides).document
    missing: dict[str, list[str]] = {}
    for path, template in document.templates.items():
        for name, default in references(template):
            if default is None and name not in os.environ:
                missing.setdefault(name, []).append(dotted(path))
    return missing


def _candidates(name: str) -> Iterator[str]:
    host = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "host"
    hinted = [text for words, text in CANDIDATES if words and re.search(words, name.upper())]
    for text in dict.fromkeys((*hinted, *(text for _, text in CANDIDATES))):
        yield text.format(host=f"{host}.invalid") if "{host}" in text else text


def _rank(settings: Settings, keys: Sequence[str]) -> tuple[int, int]:
    """Return how many problems *keys* have, and how many the tables and lists around them."""
    found = [problem.key for problem in settings.document.problems]
    return sum(key in keys for key in found), sum(any(_encloses(key, each) for each in keys) for key in found)


def _encloses(key: str, inner: str) -> bool:
    return bool(key) and inner.startswith((f"{key}.", f"{key}["))


def _raise_problems(settings: Settings, missing: Mapping[str, list[str]]) -> None:
    """Raise ConfigError with all problems; those that a placeholder may cause name its variable."""
    problems: dict[Problem, None] = {}
    for problem in settings.document.problems:
        exact = [name for name, keys in missing.items() if problem.key in keys]
        around = [name for name, keys in missing.items() if any(_encloses(problem.key, key) for key in keys)]
        if exact:
            problems |= dict.fromkeys(map(_unset, exact))
        elif around:
            message = f"{problem.message}; {', '.join(around)} had placeholders: {REMEDY}"
            problems[replace(problem, message=message)] = None
        else:
            problems[problem] = None
    if problems:
        raise ConfigError(list(problems)) from settings.document.cause


def _unset(name: str) -> Problem:
    return Problem(f"environment variable {name} is not set; {REMEDY}")
