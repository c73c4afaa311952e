from __future__ import annotations

import pytest

from scalekit_nginx.config import NginxConfig
from scalekit_nginx.installer import NginxError, install
from tests.processes import Box

pytestmark = pytest.mark.needs("nginx")


def test_a_configuration_that_nginx_rejects_leaves_the_old_file_unchanged() -> None:
    with Box("nginx") as box:
        config = NginxConfig(directory=str(box.directory))
        file = box.directory / "current.conf"
        file.write_text("events {}\n")
        with pytest.raises(NginxError, match="rejects"):
            install("nonsense", file, config)
        assert file.read_text() == "events {}\n"
        assert not list(box.directory.glob(".current*"))
