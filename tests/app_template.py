"""Write the Dockerfile and compose.yaml of `scalekit new app` from what `scalekit deploy` generates for its project.

``python -m tests.app_template`` after a change of the generators or of the template; a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from scalekit.cli.new import SUFFIX
from scalekit.deploy.compose import COMPOSE
from scalekit.deploy.dockerfile import DOCKERFILE
from scalekit.deploy.inspection import describe_service
from tests.command_line import scalekit

TEMPLATE = Path(__file__).parent.parent / "scalekit" / "templates" / "app"
FILE = "production.toml"
NAME = "name-of-the-service"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def deployment_files() -> Mapping[str, str]:
    """Return the files of the template that `scalekit deploy` generates, by name, as templates."""
    with TemporaryDirectory() as folder:
        scalekit("new", "app", NAME, folder=Path(folder))
        project = Path(folder) / NAME
        files: dict[str, str] = {}
        for kind, deployment in (("dockerfile", DOCKERFILE), ("compose", COMPOSE)):
            command = f"scalekit deploy {kind} {FILE}"
            files |= deployment.generate(describe_service(FILE, (), command, project), {})
    return {f"{name}{SUFFIX}": _as_template(text) for name, text in files.items()}


def _as_template(text: str) -> str:
    text = text.replace("$", "$$").replace(NAME, "$dashed").replace(f"python:{PYTHON}-", "python:$python-")
    return text.replace(f">={version('scalekit-asgi').partition('+')[0]}", ">=$version")


if __name__ == "__main__":
    for name, text in deployment_files().items():
        (TEMPLATE / name).write_text(text)
