"""Run the quick tests with the lowest versions that pyproject.toml allows, under the oldest Python: `make test-lowest`.

Arguments are those of pytest: ``python -m tests.dist.lowest tests/jwt``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.dist.environments import ROOT, environment
from tests.gate.pythons import name_of, oldest_and_newest

LIMIT = 3600
"""Seconds that the tests may take."""
PYTEST = ("-m", "pytest", "-q", "-n2", "--dist=worksteal", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning")
"""Old versions of libraries warn of each other."""
NOT_TRIED = {
    "tests/cache/test_user_detection_routes.py::test_a_route_varies_by_the_headers_that_it_declares": (
        "needs the models of headers of a newer FastAPI"
    ),
    "tests/documentation": "checks documents, not the code",
    "tests/tracing/integration/test_opentelemetry_api.py": "needs the middleware of a newer Starlette",
}
QUICK = ("-m", "unit or every_python", *(f"--{'deselect' if '::' in each else 'ignore'}={each}" for each in NOT_TRIED))
FRAMEWORKS = ("starlette", "fastapi", "litestar", "django", "pydantic", "sqlalchemy")


def main(arguments: list[str]) -> int:
    """Install the lowest versions of direct requirements, and return the exit status of pytest with *arguments*."""
    version, python = next(iter(oldest_and_newest().items()))
    with environment(python, ["--editable", f"{ROOT}[test]"], "--resolution", "lowest-direct") as commands:
        installed = _installed(commands)
        shown = ", ".join(f"{name} {installed[name]}" for name in FRAMEWORKS)
        print(f"{name_of(version)} with {shown}", flush=True)
        command = [str(commands / "python"), *PYTEST, *(arguments or QUICK)]
        return subprocess.run(command, cwd=ROOT, timeout=LIMIT, check=False).returncode


def _installed(commands: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "uv", "pip", "freeze", "--python", str(commands / "python")]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
