from __future__ import annotations

from pathlib import Path

from tests.command_line import scalekit


def test_the_upstream_is_the_own_address_when_no_plugin_discovers_instances(tmp_path: Path) -> None:
    (tmp_path / "scalekit.toml").write_text('[server]\nhost = "0.0.0.0"\nport = 8123\n[plugins.nginx]\n')
    done = scalekit("nginx", "config", folder=tmp_path)
    assert "server 127.0.0.1:8123 max_fails" in done.stdout
