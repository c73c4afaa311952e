"""New plugins and applications of ``scalekit new`` work unchanged."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.app_template import TEMPLATE, deployment_files
from tests.command_line import scalekit
from tests.documents import ROOT
from tests.host.cli.conftest import Run
from tests.processes import HOST, wait_for
from tests.servers import Server, ask, find

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
INSTRUCTION = re.compile(r"^([A-Z]+) (.*(?:\\\n.*)*)$", re.MULTILINE)
APPS = {"web-shop": "fastapi", "star-shop": "starlette"}


@dataclass(frozen=True, slots=True)
class Made:
    """A folder with two new plugins and two new applications, and an environment where all are installed."""

    folder: Path
    site: Path
    image: Path
    """The files of an application that the Dockerfile copies."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    made = Made(folder, folder / "site", folder / "image")
    for name in PLUGINS:
        assert scalekit("new", "plugin", name, folder=folder).returncode == 0
    for name, framework in APPS.items():
        assert scalekit("new", "app", name, "--framework", framework, folder=folder).returncode == 0
    _copy_to_image(folder / "web-shop", made.image)
    projects = [str(folder / name) for name in (*PLUGINS.values(), "image", "star-shop")]
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


def _copy_to_image(project: Path, image: Path) -> None:
    """Copy what `COPY . .` of the Dockerfile copies: all files except those in .dockerignore."""
    ignored = [line for line in (project / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    def skipped(folder: str, names: list[str]) -> list[str]:
        prefix = Path(folder).relative_to(project)
        return [name for name in names if any(_matches(str(prefix / name), pattern) for pattern in ignored)]

    shutil.copytree(project, image, ignore=skipped)


def _matches(path: str, pattern: str) -> bool:
    return fnmatch(Path(path).name, pattern[3:]) if pattern.startswith("**/") else fnmatch(path, pattern)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_new_plugin_installs_and_is_listed(name: str, run: Run, made: Made) -> None:
    listed = run("plugins", PYTHONPATH=str(made.site)).stdout
    assert any(line.split()[:3] == [name, "no", PLUGINS[name]] for line in listed.splitlines())


def test_a_new_plugin_passes_its_own_tests(made: Made) -> None:
    tests = _command("-m", "pytest", "-q", cwd=made.folder / "scalekit-greeting", PYTHONPATH=str(made.site))
    assert "11 passed" in tests


@pytest.mark.parametrize(
    ("project", "passed"),
    [("scalekit-user-cache", "11 passed"), ("web-shop", "9 passed"), ("star-shop", "9 passed")],
)
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


@pytest.mark.parametrize("name", APPS)
def test_a_new_app_is_valid(name: str, made: Made) -> None:
    environment = {**os.environ, "DATABASE_URL": "sqlite:///notes.db"}
    for file in ("scalekit.toml", "production.toml"):
        checked = scalekit("check", "--connect", file, folder=made.folder / name, environment=environment)
        assert checked.returncode == 0, checked.stderr
        assert f"{file}: valid; 4 plugins" in checked.stdout


def test_the_code_of_new_apps_passes_their_linters(made: Made) -> None:
    for name in APPS:
        for words in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
            _command("-m", "ruff", *words, cwd=made.folder / name)
    for name, package in (("web-shop", "web_shop"), ("star-shop", "star_shop")):
        (made.folder / package).symlink_to(made.folder / name / package)
    # Of both packages in one run: most of its time goes into the libraries.
    _command("-m", "mypy", "--strict", "web_shop", "star_shop", "web-shop/tests/test_app.py", cwd=made.folder)


def test_a_new_app_requires_the_lowest_tested_version_of_its_framework(made: Made) -> None:
    tested = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    required = tomllib.loads((made.folder / "web-shop/pyproject.toml").read_text())["project"]["dependencies"]
    (fastapi,) = (each for each in required if each.startswith("fastapi"))
    assert fastapi in tested


def test_hooks_and_workflow_of_a_new_app_run_tools_that_it_requires(made: Made) -> None:
    project = made.folder / "web-shop"
    required = (project / "pyproject.toml").read_text()
    (hooks,) = yaml.safe_load((project / ".pre-commit-config.yaml").read_text())["repos"]
    steps = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["steps"]
    commands = [*(hook["entry"] for hook in hooks["hooks"]), *(step["run"] for step in steps if "run" in step)]
    tools = {part.split()[0] for command in commands for part in command.split("&&")} - {"pip"}
    assert tools == {"ruff", "mypy", "scalekit", "pytest"}
    assert all(f'"{tool}' in required for tool in tools)


@pytest.mark.needs("actionlint", "compose-config")
def test_workflow_and_containers_of_a_new_app_are_valid(made: Made) -> None:
    project = made.folder / "web-shop"
    workflow = project / ".github/workflows/ci.yml"
    commands = (
        [find("actionlint"), "-shellcheck=", "-pyflakes=", str(workflow)],
        [find("compose-config"), str(project / "compose.yaml")],
        [str(Path(sys.executable).parent / "hadolint"), str(project / "Dockerfile")],
    )
    environment = {**os.environ, "POSTGRES_PASSWORD": "password"}
    for command in commands:
        result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_deployment_files_of_a_new_app_are_those_of_scalekit_deploy() -> None:
    for name, text in deployment_files().items():
        assert (TEMPLATE / name).read_text() == text, "run python -m tests.app_template"


def test_every_command_of_the_tour_exists(made: Made) -> None:
    readme = (made.folder / "web-shop/README.md").read_text()
    for words in set(re.findall(r"scalekit ([a-z]+(?: (?:compose|migrate))?)\b", readme)):
        result = scalekit(*words.split(), "--help", folder=made.folder / "web-shop")
        assert result.returncode == 0, words


class Container(Server):
    """The command of the Dockerfile in the place that it makes."""

    name = "container"
    port_count = 2

    def __init__(self, made: Made) -> None:
        self.made = made

    def command(self) -> list[object]:
        found = dict(INSTRUCTION.findall((self.made.folder / "web-shop" / "Dockerfile").read_text()))
        words = [*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])]
        self.box.environment |= {
            "PORT": str(self.port),
            "PYTHONPATH": str(self.made.site),
            "SCALEKIT_CONFIG": "production.toml",
            "DATABASE_URL": "sqlite:///notes.db",
        }
        management = ["--set", f"server.management_address={HOST}:{self.ports[1]}"]  # each run has its own port
        return ["env", "-C", self.made.image, sys.executable, "-m", *words, *management]

    def is_ready(self) -> bool:
        return bool(ask(self.ports[1], "GET", "/health/ready"))


@pytest.fixture
def container(made: Made) -> Iterator[Container]:
    with Container(made) as container:
        yield container


def test_the_dockerfile_of_a_new_app_listens_on_all_interfaces_and_stops_on_sigterm(container: Container) -> None:
    assert ask(container.port, "GET", "/?name=you") == '{"hello":"you"}'
    line = f"http://0.0.0.0:{container.port}"  # the loopback address is closed to other machines
    wait_for(line, lambda: line in container.box.logs(), container.process)
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
