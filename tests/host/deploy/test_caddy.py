"""Caddy accepts every generated Caddyfile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scalekit.deploy.caddy import CADDY
from tests.certificates import Authority
from tests.host.deploy.conftest import Describe
from tests.host.deploy.proxy_files import MANAGED, SETUPS, generate
from tests.servers import find

pytestmark = pytest.mark.needs("caddy")


def problems(text: str, folder: Path) -> str:
    """Return the messages of Caddy when it rejects *text* or would format it in another way."""
    file = folder / "Caddyfile"
    file.write_text(text)
    command = [find("caddy"), "validate", "--adapter", "caddyfile", "--config", str(file)]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    return done.stdout + done.stderr if done.returncode or "not formatted" in done.stderr else ""


@pytest.mark.parametrize(("server", "options"), SETUPS)
def test_caddy_accepts_the_file(server: str, options: dict[str, Any], describe: Describe, tmp_path: Path) -> None:
    assert problems(generate(CADDY, describe(f"[server]\n{server}"), **options), tmp_path) == ""


@pytest.mark.needs("openssl")
def test_caddy_accepts_certificates(describe: Describe, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("shop")
    options = {"tls_cert": str(files.certificate), "tls_key": str(files.key), "listen": "127.0.0.1:8443"}
    text = generate(CADDY, describe(""), **options)
    assert problems(text, tmp_path) == ""
    assert "\tauto_https disable_redirects\n" in text, "no listener on port 80 that the command line does not name"


def test_a_server_name_and_port_443_get_a_certificate_from_caddy(describe: Describe) -> None:
    text = generate(CADDY, describe(""), server_names=("shop.example",), listen="0.0.0.0:443")
    assert "https://shop.example:443 {\n" in text
    assert "http://:80 {\n\trespond 421\n}" in text
    assert "auto_https" not in text


def test_requests_with_a_body_take_no_instance_out(describe: Describe) -> None:
    text = generate(CADDY, describe(""))
    assert text.count("fail_duration") == 1
    assert text.index("reverse_proxy @bodiless") < text.index("fail_duration") < text.index("reverse_proxy 127.0.0.1")


def test_checks_and_limits_follow_the_file(describe: Describe) -> None:
    server = (
        f'{MANAGED}max_header = "128KiB"\ndrain_delay = "2s"\nkeep_alive_timeout = "20s"\ngraceful_timeout = "7s"\n'
    )
    text = generate(
        CADDY, describe(f'[server]\n{server}[health]\npath = "/a b"\n'), instances=("10.0.0.5:80",), read_timeout=7.0
    )
    for line in (
        "response_header_timeout 7s",
        "grace_period 7s",
        "max_header_size 131072",
        "idle 20s",
        "health_uri /a%20b/ready",
        "health_port 9100",
        "health_interval 400ms",
        "keepalive 1s",
    ):
        assert f"\t{line}\n" in text
