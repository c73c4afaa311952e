"""The supported Pythons of this machine, each with its own test environment."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

Version = tuple[int, int]

ROOT = Path(__file__).parents[2]
NEWEST = 20
"""The last minor version that is looked for."""
CHECKOUT = "checkout.txt"
INSTALLED = "installed.txt"


def oldest_and_newest() -> dict[Version, str]:
    """Return the oldest and the newest supported Python that can make environments, by version."""
    found = supported()
    return {version: found[version] for version in sorted({min(found), max(found)})} if found else {}


def supported() -> dict[Version, str]:
    """Return one interpreter of each supported version."""
    found: dict[Version, str] = {}
    for minor in range(_oldest_minor(), NEWEST + 1):
        path = next(filter(_makes_environments, _candidates(minor)), None)
        if path is not None:
            found[3, minor] = path
    return found


def environment(version: Version, python: str) -> str:
    """Return the interpreter of an environment with this checkout installed; create a missing environment."""
    folder = _cache() / f"{name_of(version)}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"
    own = folder / "bin/python"
    wanted = f"{python}\n{(ROOT / 'pyproject.toml').read_text()}"
    if not _says(folder / INSTALLED, wanted):
        print(f"making an environment of {name_of(version)} in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True, timeout=300)
        (folder / CHECKOUT).write_text(str(ROOT))
        pip = [str(own), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--editable", ".[test]"]
        subprocess.run(pip, cwd=ROOT, check=True, timeout=1800)
        (folder / INSTALLED).write_text(wanted)
    return str(own)


def remove_environments_of_removed_checkouts() -> None:
    """Remove the environments of checkouts that no longer exist."""
    for note in _cache().glob(f"python3.*/{CHECKOUT}"):
        if not Path(note.read_text()).exists():
            shutil.rmtree(note.parent, ignore_errors=True)


def name_of(version: Version) -> str:
    return "python{}.{}".format(*version)


def _oldest_minor() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    match = re.fullmatch(r">=3\.(\d+)", project["requires-python"])
    if match is None:
        raise ValueError(f"requires-python is {project['requires-python']!r}: expected a form such as '>=3.11'")
    return int(match[1])


def _candidates(minor: int) -> Iterator[str]:
    if sys.version_info[:2] == (3, minor):
        yield sys.executable
    if path := shutil.which(f"python3.{minor}"):
        yield path
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    yield from sorted(map(str, versions.glob(f"3.{minor}.*/bin/python")), reverse=True)


def _makes_environments(python: str) -> bool:
    command = [python, "-c", "import venv, ensurepip"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _cache() -> Path:
    folder = os.environ.get("SCALEKIT_CACHE")
    return Path(folder) if folder else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "scalekit")


def _says(file: Path, text: str) -> bool:
    return file.exists() and file.read_text() == text
