"""Clean environments with the built wheel, by extra and Python."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
LIMIT = 900
"""Seconds that an installation may take."""
DEVELOPMENT = {"check", "dist", "docs", "test"}
"""Extras of those who change ScaleKit; a wheel is not for them."""


def extras() -> list[str]:
    """Return the extras of users, those of single plugins first and ``all`` last."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set(project["optional-dependencies"]) - DEVELOPMENT
    return [*sorted(names - {"all"}), "all"]


@contextmanager
def environment(python: str, requirements: Sequence[object], *options: str) -> Iterator[Path]:
    """Yield the folder with the commands of a new environment of *python* with *requirements*."""
    with TemporaryDirectory(prefix="scalekit-dist-") as folder:
        yield create(Path(folder, "environment"), python, requirements, *options)


def create(folder: Path, python: str, requirements: Iterable[object], *options: str) -> Path:
    """Create the environment in *folder*, and return the folder of its commands; *options* are those of uv."""
    _uv("venv", "--seed", "--python", python, folder)
    _uv("pip", "install", "--python", folder / "bin/python", *options, *requirements)
    return folder / "bin"


def _uv(*words: object) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
