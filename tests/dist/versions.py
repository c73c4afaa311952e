"""Write docs/versions.md: the tested versions of Python, frameworks, libraries and servers.

``python -m tests.dist.versions`` after a change of a requirement; a test compares the page with pyproject.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.dist.environments import ROOT, extras

PAGE = ROOT / "docs" / "versions.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = "scalekit-asgi"
FRAMEWORKS = {"starlette": "Starlette", "fastapi": "FastAPI", "litestar": "Litestar", "django": "Django"}


class ServerVersion(NamedTuple):
    """The *release* of a server that the tests run against, which *command* prints."""

    name: str
    release: str
    command: tuple[str, ...]


SERVERS = (
    ServerVersion("PostgreSQL", "15", ("postgres", "--version")),
    ServerVersion("PgBouncer", "1.18", ("pgbouncer", "--version")),
    ServerVersion("MariaDB", "10.11", ("mariadbd", "--version")),
    ServerVersion("Redis", "7.0", ("redis-server", "--version")),
    ServerVersion("Valkey", "8.0", ("valkey-server", "--version")),
    ServerVersion("RabbitMQ", "3.10", ("rabbitmqctl", "version")),
    ServerVersion("RabbitMQ 4", "4.0", ("rabbitmq4ctl", "version")),
    ServerVersion("Consul", "1.8", ("consul", "--version")),
    ServerVersion("nginx", "1.22", ("nginx", "-v")),
    ServerVersion("HAProxy", "2.6", ("haproxy", "-v")),
    ServerVersion("Prometheus", "2.42", ("prometheus", "--version")),
)
"""Those of Debian 12, and Consul, RabbitMQ 4 and Valkey as tests/install_servers.sh installs them."""
HEAD = """# Tested versions

`make test` runs all tests with the newest versions below the ceiling, under the Python in use, and the quick tests
under the oldest and the newest Python of the machine. `make test-lowest` runs the quick tests with the lowest versions,
under the oldest Python. The floors were found by older versions, with which tests failed.

This page is generated from `pyproject.toml`: `python -m tests.dist.versions`.
"""
PLATFORMS = """## Platforms

| platform | tests | what works |
|---|---|---|
| Linux | all | everything |
| macOS | those without servers and other processes, in continuous integration | one process; `preload` needs Linux |
| Windows | only the import of every module and a request, simulated on Linux | perhaps one process, in memory |

On Windows these end with an error that says so: `server.workers`, `scalekit run --reload`, addresses that are Unix
sockets, `[app] static`, `scalekit nginx config --watch`, log files, key files of the plugin jwt, migrations by Alembic
on SQLite, and the registration in Consul. On macOS and Windows the memory of processes is not known, and reads as 0.
"""


def page() -> str:
    """Return the text of the page."""
    return "\n".join([HEAD, *_frameworks(), *_libraries(), *_servers(), PLATFORMS])


def requirements() -> dict[str, tuple[Requirement, list[str]]]:
    """Return the requirement of each distribution with the extras that need it; none means that all need it."""
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        found[canonicalize_name(requirement.name)] = requirement, []
    optional: Mapping[str, list[str]] = PROJECT["optional-dependencies"]
    for extra in extras():
        for line in optional[extra]:
            requirement = Requirement(line)
            if requirement.name != OURS:
                found.setdefault(canonicalize_name(requirement.name), (requirement, []))[1].append(extra)
    return found


def bounds(requirement: Requirement) -> tuple[str, str]:
    """Return the lowest version of *requirement*, and the version below which it must be or a dash."""
    found = {each.operator: each.version for each in requirement.specifier}
    return found[">="], found.get("<", "-")


def _frameworks() -> Iterator[str]:
    yield "## Python and frameworks\n\n| name | lowest | below |\n|---|---|---|"
    yield f"| Python | {PROJECT['requires-python'].removeprefix('>=')} | {_python_ceiling()} |"
    lines = [Requirement(line) for line in (*PROJECT["optional-dependencies"]["test"], *PROJECT["dependencies"])]
    for name, title in FRAMEWORKS.items():
        found = sorted((bounds(each) for each in lines if each.name == name), key=_lowest)  # by ranges of Pythons
        yield f"| {title} | {found[0][0]} | {found[-1][1]} |"
    yield ""


def _lowest(bounds: tuple[str, str]) -> Version:
    return Version(bounds[0])


def supported_pythons() -> list[str]:
    """Return the versions of Python of continuous integration, such as ``"3.11"``."""
    (matrix,) = re.findall(r"python: \[(.+)\]", (ROOT / ".github/workflows/ci.yml").read_text())
    return re.findall(r"3\.\d+", matrix)


def _python_ceiling() -> str:
    """Return the first Python after those of continuous integration."""
    newest = max(map(Version, supported_pythons()))
    return f"{newest.major}.{newest.minor + 1}"


def _libraries() -> Iterator[str]:
    yield "## Libraries\n\n| distribution | lowest | below | extra |\n|---|---|---|---|"
    for name, (requirement, names) in sorted(requirements().items()):
        lowest, below = bounds(requirement)
        yield f"| `{name}` | {lowest} | {below} | {', '.join(f'`{each}`' for each in names) or 'always'} |"
    yield ""


def _servers() -> Iterator[str]:
    yield "## Servers\n\n| server | release |\n|---|---|"
    yield from (f"| {server.name} | {server.release} |" for server in SERVERS)
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page())
