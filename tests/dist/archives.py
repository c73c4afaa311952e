"""The sdist and the wheel: how they are built, and what they must contain."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LICENSE = "LICENSE"
CODE = ("scalekit/", "plugins/")
BESIDE_CODE = {"pyproject.toml", "README.md", "CHANGELOG.md", "PKG-INFO", LICENSE, ".gitignore"}
"""Files of an sdist beside the packages; hatchling adds .gitignore, which it needs to build."""
LIMIT = 300
"""Seconds that a build may take."""


class Archives(NamedTuple):
    """A built distribution."""

    sdist: Path
    wheel: Path


def build(folder: Path, checkout: Path = ROOT) -> Archives:
    """Build the sdist of *checkout*, and the wheel from the unpacked sdist, as pip does; return both in *folder*."""
    sdist = _build("sdist", checkout, folder)
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        (tree,) = Path(scratch).iterdir()
        return Archives(sdist, _build("wheel", tree, folder))


def _build(target: str, checkout: Path, folder: Path) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", scratch]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=LIMIT, check=False)
        if done.returncode:
            raise RuntimeError(f"hatchling built no {target} of {checkout}:\n{done.stdout}{done.stderr}")
        (built,) = Path(scratch).iterdir()
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(built, folder / built.name))


def code_files(checkout: Path = ROOT) -> set[str]:
    """Return the paths of all files of packages that git tracks or would add, as they are in a wheel."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *CODE]
    output = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    paths = map(PurePosixPath, filter(None, output.split("\0")))
    return {str(path) for path in map(_path_in_wheel, paths) if len(path.parts) > 1}


def _path_in_wheel(path: PurePosixPath) -> PurePosixPath:
    for prefix in ("plugins/lib", "plugins"):
        if path.is_relative_to(prefix):
            return path.relative_to(prefix)
    return path


def wheel_problems(wheel: Path, expected: set[str]) -> list[str]:
    """Return what is wrong with the contents of *wheel*, which has the files *expected* and metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        information = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
        metadata = Parser().parsestr(archive.read(_only(information, "METADATA")).decode())
        entry_points = archive.read(_only(information, "entry_points.txt")).decode()
    found = [*_differences(wheel.name, names - information, expected), *_metadata_problems(wheel, metadata)]
    packages = {name.partition("/")[0] for name in expected}
    found += [f"{wheel.name}: {name} has no py.typed" for name in packages if f"{name}/py.typed" not in names]
    if not any(name.endswith(f"/licenses/{LICENSE}") for name in information):
        found.append(f"{wheel.name}: no {LICENSE}")
    for line in ("scalekit = scalekit.cli:main", *(f"{_plugin(name)}.plugin" for name in packages if _plugin(name))):
        if line not in entry_points:
            found.append(f"{wheel.name}: entry_points.txt has no {line}")
    return sorted(found)


def _plugin(package: str) -> str:
    """Return the name of a plugin's package, or an empty string for the host and for libraries."""
    return package if (ROOT / "plugins" / package).is_dir() else ""


def _only(names: Iterable[str], suffix: str) -> str:
    (name,) = (name for name in names if name.endswith(f"/{suffix}"))
    return name


def _metadata_problems(wheel: Path, metadata: Message) -> Iterator[str]:
    wanted = {"Name": "scalekit-asgi", "License-Expression": "MIT", "Description-Content-Type": "text/markdown"}
    for field, value in wanted.items():
        if metadata[field] != value:
            yield f"{wheel.name}: {field} is {metadata[field]!r}, not {value!r}"
    if metadata["Version"] != wheel.name.split("-")[1]:
        yield f"{wheel.name}: Version is {metadata['Version']!r}"
    if not metadata.get_payload():
        yield f"{wheel.name}: no description"


def sdist_problems(sdist: Path, expected: set[str]) -> list[str]:
    """Return what is wrong with the contents of *sdist*, which has the packages with the files *expected*."""
    with tarfile.open(sdist) as archive:
        paths = [PurePosixPath(member.name) for member in archive if not member.isdir()]
    names = {str(path.relative_to(path.parts[0])) for path in paths}
    packages = {str(_path_in_wheel(PurePosixPath(name))) for name in names if name.startswith(CODE)}
    beside = {name for name in names if not name.startswith(CODE)}
    found = list(_differences(sdist.name, packages, expected))
    found += [f"{sdist.name}: {name} does not belong there" for name in beside - BESIDE_CODE]
    return sorted(found + [f"{sdist.name}: no {name}" for name in BESIDE_CODE - beside])


def _differences(archive: str, names: set[str], expected: set[str]) -> Iterator[str]:
    yield from (f"{archive}: no {name}" for name in expected - names)
    yield from (f"{archive}: {name} does not belong there" for name in names - expected)
