from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from tests.dist.archives import ROOT, Archives, build, code_files, sdist_problems, wheel_problems

FALLBACK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]["fallback-version"]
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def expected() -> set[str]:
    return code_files()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return what hatchling needs of the last commit, in a folder without git."""
    folder = tmp_path / "tree"
    command = ["git", "archive", "HEAD", "pyproject.toml", "README.md", "LICENSE", ".gitignore"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=folder, capture_output=True, check=True)


def version(folder: Path) -> str:
    command = [sys.executable, "-m", "hatchling", "version"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def with_entry(wheel: Path, folder: Path, name: str, text: str = "") -> Path:
    """Return a copy of *wheel* with one more file."""
    copy = Path(shutil.copy(wheel, folder / wheel.name))
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr(name, text)
    return copy


def without(wheel: Path, folder: Path, removed: str, old: str = "", new: str = "") -> Path:
    """Return a copy of *wheel* without the files whose names end in *removed*, and with METADATA changed."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("/METADATA"):
                content = content.replace(old.encode(), new.encode(), 1)
            if not removed or not name.endswith(removed):
                target.writestr(name, content)
    return copy


def test_the_wheel_has_exactly_the_packages(archives: Archives, expected: set[str]) -> None:
    assert wheel_problems(archives.wheel, expected) == []
    assert {"scalekit_redis/py.typed", "scalekit_ratelimit/gcra.lua", "scalekit_console/assets/console.js"} <= expected


def test_the_sdist_has_the_packages_and_what_a_build_needs(archives: Archives, expected: set[str]) -> None:
    assert sdist_problems(archives.sdist, expected) == []


def test_sdist_and_wheel_have_one_version(archives: Archives) -> None:
    wheel = archives.wheel.name.split("-")[1]
    assert archives.sdist.name == f"scalekit_asgi-{wheel}.tar.gz"
    assert Version(wheel) >= Version(FALLBACK)


def test_a_file_that_does_not_belong_into_the_wheel_is_reported(
    archives: Archives, expected: set[str], tmp_path: Path
) -> None:
    wheel = with_entry(archives.wheel, tmp_path, "tests/test_secret.py")
    assert wheel_problems(wheel, expected) == [f"{wheel.name}: tests/test_secret.py does not belong there"]


def test_a_missing_file_is_reported(archives: Archives, expected: set[str], tmp_path: Path) -> None:
    wheel = without(archives.wheel, tmp_path, "gcra.lua")
    assert wheel_problems(wheel, expected) == [f"{wheel.name}: no scalekit_ratelimit/gcra.lua"]
    bare = without(archives.wheel, tmp_path, "scalekit_queue/py.typed")
    assert f"{wheel.name}: scalekit_queue has no py.typed" in wheel_problems(bare, expected)
    unlicensed = without(archives.wheel, tmp_path, "LICENSE")
    assert wheel_problems(unlicensed, expected) == [f"{wheel.name}: no LICENSE"]


def test_metadata_of_another_project_is_reported(archives: Archives, expected: set[str], tmp_path: Path) -> None:
    wheel = without(archives.wheel, tmp_path, "", "Name: scalekit-asgi", "Name: other")
    assert wheel_problems(wheel, expected) == [f"{wheel.name}: Name is 'other', not 'scalekit-asgi'"]


def test_a_tree_without_git_has_the_fallback_version(tree: Path) -> None:
    assert version(tree) == FALLBACK


def test_the_tag_is_the_version_and_later_commits_are_after_it(tree: Path) -> None:
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message", "first")
    untagged = Version(version(tree))
    assert (untagged.base_version, untagged.is_devrelease) == (Version(FALLBACK).base_version, True)
    git(tree, "tag", "v9.8.7")
    assert version(tree) == "9.8.7"
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "second")
    later = Version(version(tree))
    assert later > Version("9.8.7")
    assert later.base_version == "9.8.8"
