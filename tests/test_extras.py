"""An extra that is not on costs no import: an enabled plugin imports the libraries of its own extra only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.dist.environments import DEVELOPMENT
from tests.dist.smoke import BLOCKS
from tests.service import ROOT
from tests.test_requirements import PROJECT, extras_of, required

SOURCE = """
import asyncio, json, os, sys, tomllib
from scalekit import create_app
from scalekit.testing import request, running


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def serve(plugins):
    app = create_app({"plugins": plugins}, app=application)
    async with running(app) as state:
        assert (await request(app, "/", state=state)).body == b"hello"


def loaded(toml):
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            asyncio.run(serve(tomllib.loads(toml).get("plugins", {})))
            modules = {name for name in sys.modules if sys.modules[name] is not None}
            parts = {".".join(name.split(".")[:2]) for name in modules if name.startswith("scalekit.")}
            names = sorted({name.partition(".")[0] for name in modules} | parts)
        except BaseException as error:
            names = [f"failed: {error!r}"]
        os.write(writer, json.dumps(names).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as report:
        names = json.loads(report.read())
    os.wait()
    return names


print(json.dumps({name: loaded(toml) for name, toml in json.loads(sys.argv[1]).items()}))
"""
"""Serves a request with each configuration in a fork of a process that has imported the host."""
ALSO: Mapping[str, str] = {"replica": "[plugins.pool]\n" + BLOCKS["pool"]}
"""Tables that a plugin requires."""
WHERE_INSTALLED = {"discovery": {"brotli"}}
"""Libraries that a library of the plugin imports when they are installed: aiohttp decodes Brotli."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the imported modules of the top level, and of the host's first, by the name of the enabled plugin.

    None is enabled for an empty name.
    """
    files = {name: f"{ALSO.get(name, '')}\n[plugins.{name}]\n{keys}\n" for name, keys in BLOCKS.items()}
    done = subprocess.run(
        [sys.executable, "-c", SOURCE, json.dumps({"": "", **files})],
        cwd=tmp_path_factory.mktemp("extras"),
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: set(modules) for name, modules in json.loads(done.stdout).items()}


def of_extras() -> set[str]:
    """Return the distributions that some extra requires, and the host does not."""
    users = set(PROJECT["optional-dependencies"]) - DEVELOPMENT
    return required(users) - with_requirements(required(()))


@cache
def _requires(distribution: str) -> frozenset[str]:
    try:
        lines = requires(distribution) or ()
    except PackageNotFoundError:
        return frozenset()
    wanted = [Requirement(line) for line in lines]
    return frozenset(canonicalize_name(each.name) for each in wanted if each.marker is None or each.marker.evaluate())


def with_requirements(names: Iterable[str]) -> set[str]:
    """Return *names* and all that they require in turn, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _requires(name)
    return found


def distributions(modules: Iterable[str]) -> set[str]:
    owners = packages_distributions()
    return {str(canonicalize_name(each)) for name in modules for each in owners.get(name, ())}


def test_a_host_without_plugins_imports_the_library_of_no_extra(loaded: dict[str, set[str]]) -> None:
    assert {"starlette", "pydantic", "scalekit"} <= loaded[""]
    assert distributions(loaded[""]) & of_extras() == set()


def test_a_host_without_plugins_imports_no_plugin(loaded: dict[str, set[str]]) -> None:
    assert [name for name in loaded[""] if name.startswith("scalekit_")] == []


@pytest.mark.parametrize("plugin", BLOCKS)
def test_a_plugin_imports_the_libraries_of_its_own_extra_only(plugin: str, loaded: dict[str, set[str]]) -> None:
    package = f"scalekit_{plugin.replace('-', '_')}"
    assert package in loaded[plugin], loaded[plugin]
    own = with_requirements(required(extras_of(Path(package))))
    assert distributions(loaded[plugin]) & of_extras() - own - WHERE_INSTALLED.get(plugin, set()) == set()


@pytest.mark.parametrize("plugin", BLOCKS)
def test_a_plugin_imports_no_other_plugin(plugin: str, loaded: dict[str, set[str]]) -> None:
    others = {f"scalekit_{name.replace('-', '_')}" for name in BLOCKS} - {f"scalekit_{plugin.replace('-', '_')}"}
    needed = {"scalekit_pool"} if plugin in ALSO else set()
    assert loaded[plugin] & others - needed == set()


@pytest.mark.parametrize("plugin", ["", *BLOCKS])
def test_a_service_does_not_import_what_commands_use(plugin: str, loaded: dict[str, set[str]]) -> None:
    assert "scalekit.http" in loaded[plugin]
    assert loaded[plugin] & {"scalekit.deploy", "scalekit.doctor"} == set()
