"""The generated Dockerfile is what a linter of Dockerfiles and an operator accept."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scalekit.deploy import ServiceDescription
from scalekit.deploy.dockerfile import DOCKERFILE, probe_command
from scalekit.deploy.inspection import describe_service
from scalekit.errors import ConfigError
from tests.certificates import Authority
from tests.host.deploy.conftest import Describe, describe_sample

HADOLINT = Path(sys.executable).parent / "hadolint"
INSTRUCTION = re.compile(r"^([A-Z]+) (.*(?:\\\n.*)*)$", re.MULTILINE)


def dockerfile(service: ServiceDescription, **options: str) -> str:
    return DOCKERFILE.generate(service, options)["Dockerfile"]


def last(text: str, instruction: str) -> str:
    found: list[str] = [words for name, words in INSTRUCTION.findall(text) if name == instruction]
    return found[-1]


def test_hadolint_finds_nothing(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("starlette\n")
    services = [
        *(describe_sample(name) for name in ("scalekit.toml", "production.toml", "one_database.toml")),
        describe('[app]\ntarget = "a:b"\n[server]\nworkers = 4\nmanagement_address = "127.0.0.1:9100"\n'),
    ]
    files = [tmp_path / f"{index}.Dockerfile" for index, _ in enumerate(services)]
    for file, service in zip(files, services, strict=True):
        file.write_text(dockerfile(service))
    result = subprocess.run([HADOLINT, "--strict-labels", *files], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_service_is_no_root_and_the_first_process(describe: Describe) -> None:
    text = dockerfile(describe('[app]\ntarget = "a:b"\n'))
    assert last(text, "USER") == "10001:10001"
    assert json.loads(last(text, "ENTRYPOINT")) == ["scalekit"]
    assert json.loads(last(text, "CMD")) == ["run", "--set", "server.host=0.0.0.0"]


def test_dependencies_come_from_requirements_or_the_project(describe: Describe, tmp_path: Path) -> None:
    assert "-r " not in dockerfile(describe(""))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["starlette"]\n[build-system]\n')
    text = dockerfile(describe(""))
    assert text.index("-r dependencies.txt") < text.index("COPY . .") < text.index("--no-deps .")
    (tmp_path / "requirements.txt").write_text("")
    assert "-r requirements.txt" in dockerfile(describe(""))


def test_files_that_the_requirements_include_are_copied_to_their_places(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements.txt").write_text("-r requirements/base.txt # all\n--constraint=pins.txt\n-r ../a.txt\n")
    (tmp_path / "requirements/base.txt").write_text("starlette\n-c ../pins.txt\n-r more.txt\n-r ../requirements.txt\n")
    (tmp_path / "requirements/more.txt").write_text("pydantic\n")
    (tmp_path / "pins.txt").write_text("starlette==1.0\n")
    text = dockerfile(describe(""))
    copied = text.partition("-r requirements.txt")[0]
    assert 'COPY ["requirements.txt", "pins.txt", "./"]\n' in copied
    assert 'COPY ["requirements/base.txt", "requirements/more.txt", "./requirements/"]\n' in copied
    (tmp_path / "Dockerfile").write_text(text)
    result = subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


def test_a_file_outside_of_the_project_cannot_be_extended(describe: Describe, tmp_path: Path) -> None:
    (tmp_path.parent / "base.toml").write_text("")
    with pytest.raises(ConfigError, match=r"extends: '\.\./base\.toml' is outside of the folder of the project"):
        dockerfile(describe('extends = "../base.toml"\n'))


def test_packages_that_are_in_no_index_are_in_a_folder(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    assert "wheels" not in dockerfile(describe(""))
    (tmp_path / "wheels/a-1-py3-none-any.whl").write_text("")
    text = dockerfile(describe(""))
    assert text.index("COPY wheels wheels") < text.index("pip install --no-cache-dir --find-links wheels")


def test_the_list_of_dependencies_is_read_by_the_command_of_the_build(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["a>=1", "b[c]; d == \'e\'"]\n')
    words = next(words for _, words in INSTRUCTION.findall(dockerfile(describe(""))) if "dependencies.txt" in words)
    command = words.partition("\\\n")[0]
    subprocess.run(["sh", "-c", command.replace("python", sys.executable, 1)], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "dependencies.txt").read_text() == "a>=1\nb[c]; d == 'e'\n"


def test_files_of_the_service_are_in_a_volume_and_not_in_the_image() -> None:
    service = describe_sample("scalekit.toml")
    assert json.loads(last(dockerfile(service), "VOLUME")) == ["/data"]
    ignored = DOCKERFILE.generate(service, {})[".dockerignore"].splitlines()
    assert {"sample.db", "sample-queue.db", "sample-keys.json", "**/.env*"} <= set(ignored)


def test_the_private_key_of_the_service_is_not_in_the_image(
    describe: Describe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = Authority(tmp_path).issue("shop")
    key = f'key_file = "./{files.key.name}"'
    service = describe(f'[server.tls]\ncert_file = "{files.certificate}"\n{key}\n')
    ignored = DOCKERFILE.generate(service, {})[".dockerignore"].splitlines()
    assert files.key.name in ignored
    assert not any(files.certificate.name in line for line in ignored)  # a file outside of the project


def test_a_worker_without_health_pages_has_no_health_check(describe: Describe) -> None:
    text = dockerfile(describe('[server]\nrole = "worker"\n'))
    assert "HEALTHCHECK" not in text
    assert "EXPOSE" not in text


def test_the_python_version_is_an_option(describe: Describe) -> None:
    assert "FROM python:3.14-slim AS build\n" in dockerfile(describe(""), python="3.14")


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ("", "'http://127.0.0.1:8000/health/ready'"),
        ('port = "${P:-80}"', "% (os.environ.get('P') or 80)"),
        ('port = "${P:-80}"\nmanagement_address = "127.0.0.1:9100"', "'http://127.0.0.1:9100/health/ready'"),
    ],
)
def test_the_health_check_asks_the_port_that_the_service_has(toml: str, part: str, describe: Describe) -> None:
    assert part in probe_command(describe(f"[server]\n{toml}\n"))[2]


def test_the_name_of_the_file_may_have_any_printable_characters(tmp_path: Path) -> None:
    (tmp_path / 'é "$x".toml').write_text("")
    text = dockerfile(describe_service('é "$x".toml', (), "scalekit deploy", tmp_path))
    assert r'SCALEKIT_CONFIG="é \"\$x\".toml"' in text


@pytest.mark.parametrize("port", ["80", '"${NO_SUCH_PORT:-80}"'])
def test_the_path_of_the_health_pages_is_encoded(port: str, describe: Describe) -> None:
    code = probe_command(describe(f'[server]\nport = {port}\n[health]\npath = "/a\'b %"\n'))[2]
    called: list[str] = []
    code = code.replace("urllib.request; ", "os; ", 1)
    exec(code, {"urllib": SimpleNamespace(request=SimpleNamespace(urlopen=lambda url, timeout: called.append(url)))})
    assert called == ["http://127.0.0.1:80/a%27b%20%25/ready"]


def test_a_path_with_control_characters_is_refused(describe: Describe) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.logging\.directory: a path in generated files has no"):
        describe('[plugins.logging]\ndirectory = "a\\nRUN b"\n')
