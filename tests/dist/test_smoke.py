from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import scalekit
from tests.dist.environments import create, extras
from tests.dist.smoke import APPLICATION, BLOCKS, PLUGINS, configuration, smoke
from tests.test_layout import PROJECT

COMMANDS = Path(sys.executable).parent


@pytest.mark.parametrize("extra", ["", *extras()])
def test_the_configuration_of_every_extra_is_valid(extra: str, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APPLICATION)
    (tmp_path / "scalekit.toml").write_text(configuration(extra, 8000))
    done = scalekit("check", folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_plugin_is_tried_with_some_extra_and_alone_where_it_needs_none() -> None:
    assert set(BLOCKS) == set(PROJECT["project"]["entry-points"]["scalekit"])
    with_extra = set(PROJECT["project"]["optional-dependencies"])
    assert set(BLOCKS) - with_extra <= set(PLUGINS[""])


@pytest.mark.every_python
def test_an_installation_without_extras_serves() -> None:
    smoke(COMMANDS, "")


def test_an_installation_whose_command_fails_is_reported(tmp_path: Path) -> None:
    command = tmp_path / "scalekit"
    command.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    command.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        smoke(tmp_path, "")
    assert caught.value.returncode == 3
    assert "broken\n" in caught.value.__notes__


def test_an_environment_that_cannot_be_made_is_reported_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"uv --quiet venv --seed --python .*no-python .* ended with"):
        create(tmp_path / "environment", str(tmp_path / "no-python"), ["."])
