"""``scalekit deploy nginx`` takes its table, and works without it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from scalekit.deploy import ServiceDescription
from scalekit.deploy.inspection import describe_service
from scalekit_nginx.deploy_kind import NGINX
from tests.host.deploy.proxy_files import SETUPS, generate
from tests.servers import find


def describe(folder: Path, toml: str) -> ServiceDescription:
    (folder / "scalekit.toml").write_text(toml)
    return describe_service("scalekit.toml", (), "scalekit deploy nginx", folder)


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(("server", "options"), SETUPS)
def test_nginx_accepts_the_file(
    server: str,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    text = generate(NGINX, describe(tmp_path, f"[server]\n{server}"), **options)
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx.conf").write_text(text)
    paths = ["-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    done = subprocess.run([find("nginx"), "-t", "-q", *paths], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_options_replace_values_of_the_table(tmp_path: Path) -> None:
    service = describe(
        tmp_path, '[plugins.nginx]\nlisten = "127.0.0.1:81"\nupstreams = ["10.0.0.5:80"]\nread_timeout = "7s"\n'
    )
    text = generate(NGINX, service)
    assert "listen 127.0.0.1:81;" in text
    assert "server 10.0.0.5:80 max_fails" in text
    assert "proxy_read_timeout 7000ms;" in text
    text = generate(NGINX, service, listen="127.0.0.1:82", instances=("10.0.0.6:80",), tls_cert="a", tls_key="b")
    assert "listen 127.0.0.1:82 ssl http2;" in text
    assert "10.0.0.5" not in text
    assert 'ssl_certificate_key "b";' in text


def test_paths_are_relative_and_the_start_is_left_to_the_unit(tmp_path: Path) -> None:
    text = generate(NGINX, describe(tmp_path, '[plugins.nginx]\nstatic = { "/static/" = "shop/static" }\n'))
    assert 'pid "nginx/nginx.pid";' in text
    assert 'alias "shop/static/";' in text
    assert "daemon" not in text
