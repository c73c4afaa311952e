"""New plugins and applications of ``scalekit new`` work unchanged."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_line import scalekit
from tests.host.cli.conftest import Run
from tests.processes import HOST
from tests.servers import Server, ask

PLUGINS = {"greeting": "scalekit-greeting", "user-cache": "scalekit-user-cache"}
NOISY = """
import warnings
import pytest

def pytest_configure():
    warnings.warn(pytest.PytestDeprecationWarning("an option is unset"))

def pytest_collection():
    warnings.warn(DeprecationWarning("an old way"))
"""
"""A pytest plugin whose warnings must not be errors of an application."""
BROKEN = "raise RuntimeError('this was written for another pytest')"
INSTRUCTION = re.compile(r"^([A-Z]+) (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Made:
    """A folder with two new plugins and a new application, and an environment where all are installed."""

    folder: Path
    site: Path
    image: Path
    """The files that the Dockerfile copies."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    made = Made(folder, folder / "site", folder / "image")
    for name in PLUGINS:
        assert scalekit("new", "plugin", name, folder=folder).returncode == 0
    assert scalekit("new", "app", "web-shop", folder=folder).returncode == 0
    _copy_as_the_dockerfile_says(folder / "web-shop", made.image)
    projects = [str(folder / name) for name in (*PLUGINS.values(), "image")]
    quiet = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    _command("-m", "pip", "install", *quiet, "--target", str(made.site), *projects)
    return made


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a pytest-asyncio that fails at import, and a pytest plugin that warns."""
    folder = tmp_path_factory.mktemp("noise")
    for name, source in (("asyncio", BROKEN), ("noisy", NOISY)):
        information = folder / f"pytest_{name}-0.1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pytest-{name}\nVersion: 0.1\n")
        (information / "entry_points.txt").write_text(f"[pytest11]\n{name} = pytest_{name}_old\n")
        (folder / f"pytest_{name}_old.py").write_text(source)
    return folder


def instructions(project: Path) -> list[tuple[str, str]]:
    """Return the instructions of the project's Dockerfile with their arguments."""
    return INSTRUCTION.findall((project / "Dockerfile").read_text())


def _copy_as_the_dockerfile_says(project: Path, image: Path) -> None:
    image.mkdir()
    for instruction, words in instructions(project):
        if instruction == "COPY":
            *sources, target = words.split()
            for source in sources:
                if (project / source).is_dir():
                    shutil.copytree(project / source, image / target)
                else:
                    shutil.copy(project / source, image / target)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_new_plugin_installs_and_is_listed(name: str, run: Run, made: Made) -> None:
    listed = run("plugins", PYTHONPATH=str(made.site)).stdout
    assert any(line.split()[:3] == [name, "no", PLUGINS[name]] for line in listed.splitlines())


def test_a_new_plugin_passes_its_own_tests(made: Made) -> None:
    tests = _command("-m", "pytest", "-q", cwd=made.folder / "scalekit-greeting", PYTHONPATH=str(made.site))
    assert "11 passed" in tests


@pytest.mark.parametrize(("project", "passed"), [("scalekit-user-cache", "11 passed"), ("web-shop", "2 passed")])
def test_new_tests_pass_with_other_pytest_plugins_installed(project: str, passed: str, made: Made, noise: Path) -> None:
    paths = os.pathsep.join(map(str, (noise, made.site)))
    assert passed in _command("-m", "pytest", "-q", cwd=made.folder / project, PYTHONPATH=paths)


@pytest.mark.parametrize("project", ["scalekit-greeting", "web-shop"])
def test_a_warning_of_a_new_projects_own_code_is_an_error(project: str, made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder / project, tmp_path / project)
    (test,) = (folder / "tests").glob("test_*.py")
    test.write_text("import warnings\n\n\ndef test_it():\n    warnings.warn(DeprecationWarning('an old way'))\n")
    result = _run("-m", "pytest", "-q", cwd=folder, PYTHONPATH=str(made.site))
    assert "1 failed" in result.stdout, result.stdout + result.stderr


def test_a_new_plugin_is_enabled_by_its_table(run: Run, made: Made) -> None:
    toml = '[app]\ntarget = "service:app"\n[plugins.greeting]\nstart = 4\n'
    assert "x-greeting: 5" in run("get", "/", "-i", toml=toml, PYTHONPATH=str(made.site)).stdout
    result = run("check", toml=toml.replace("start", "strat"), PYTHONPATH=str(made.site))
    assert (
        "scalekit.toml:4: plugins.greeting.strat: unknown key; did you mean 'start'? (plugin greeting)" in result.stderr
    )


def test_a_new_app_is_valid(made: Made) -> None:
    checked = scalekit("check", "--connect", folder=made.folder / "web-shop")
    assert checked.returncode == 0
    assert ": valid; " in checked.stdout


def test_the_dockerfile_of_a_new_app_is_fit_for_production(made: Made) -> None:
    steps = instructions(made.folder / "web-shop")
    kinds = [kind for kind, _ in steps]
    words = dict(steps)
    assert re.fullmatch(r"python:3\.(1[1-9]|2\d)-slim", words["FROM"])
    assert words["USER"] not in {"root", "0"}
    assert f"useradd --system {words['USER']}" in words["RUN"]
    assert kinds.index("RUN") < kinds.index("USER") < kinds.index("CMD")
    assert json.loads(words["CMD"])[:2] == ["scalekit", "run"], "in exec form: a shell would keep SIGTERM to itself"
    sent = (made.folder / "web-shop/.dockerignore").read_text().splitlines()
    copied = {source for kind, words in steps if kind == "COPY" for source in words.split()[:-1]}
    assert {line[1:] for line in sent if line.startswith("!")} == copied


class Container(Server):
    """The command of the Dockerfile in the place that it makes."""

    name = "container"

    def __init__(self, made: Made) -> None:
        self.made = made

    def command(self) -> list[object]:
        program, *arguments = json.loads(dict(instructions(self.made.folder / "web-shop"))["CMD"])
        self.box.environment |= {"PORT": str(self.port), "PYTHONPATH": str(self.made.site)}
        return ["env", "-C", self.made.image, sys.executable, "-m", program, *arguments]

    def is_ready(self) -> bool:
        return bool(ask(self.port, "GET", "/health/ready"))


@pytest.fixture
def container(made: Made) -> Iterator[Container]:
    with Container(made) as container:
        yield container


def test_the_dockerfile_of_a_new_app_listens_on_all_interfaces_and_stops_on_sigterm(container: Container) -> None:
    assert ask(container.port, "GET", "/?name=you") == '{"hello":"you"}'
    assert f"http://0.0.0.0:{container.port}" in container.box.logs(), f"{HOST} is closed to other machines"
    container.stop()
    assert container.process.returncode == 0


@pytest.mark.parametrize("name", ["Upper", "1st", "a b", "../x", "a--b", "class", "-x", ""])
def test_a_name_that_is_not_a_valid_package_is_rejected(name: str, run: Run) -> None:
    result = run("new", "plugin", "--", name)
    assert result.returncode == 2
    assert "expected lower-case words" in result.stderr


@pytest.mark.parametrize("name", ["json", "starlette", "scalekit", "tests"])
def test_an_app_that_would_hide_another_module_is_rejected(name: str, run: Run, tmp_path: Path) -> None:
    result = run("new", "app", name)
    assert result.returncode == 2
    assert f"a module {name!r} exists" in result.stderr
    assert not (tmp_path / name).exists()


def test_existing_files_are_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    result = run("new", "app", "shop")
    assert result.returncode == 2
    assert "shop exists" in result.stderr


def _run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False)


def _command(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    result = _run(*arguments, cwd=cwd, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
