"""HAProxy accepts every generated configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from scalekit.deploy.haproxy import HAPROXY
from tests.certificates import Authority
from tests.host.deploy.conftest import Describe
from tests.host.deploy.proxy_files import MANAGED, SETUPS, generate
from tests.servers import find

pytestmark = pytest.mark.needs("haproxy")


def problems(text: str, folder: Path) -> str:
    """Return the warnings and errors of ``haproxy -c``."""
    file = folder / "haproxy.cfg"
    file.write_text(text)
    done = subprocess.run([find("haproxy"), "-c", "-q", "-f", file], capture_output=True, text=True, timeout=60)
    return done.stderr if done.returncode or "WARNING" in done.stderr else ""


@pytest.mark.parametrize(("server", "options"), SETUPS)
def test_haproxy_accepts_the_file(server: str, options: dict[str, Any], describe: Describe, tmp_path: Path) -> None:
    assert problems(generate(HAPROXY, describe(f"[server]\n{server}"), **options), tmp_path) == ""


@pytest.mark.needs("openssl")
def test_haproxy_accepts_certificates(describe: Describe, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("shop")
    (tmp_path / f"{files.certificate.name}.key").symlink_to(files.key)
    options = {"tls_cert": str(files.certificate), "tls_key": str(files.key)}
    assert problems(generate(HAPROXY, describe(""), **options), tmp_path) == ""


def test_checks_buffers_and_limits_follow_the_file(describe: Describe) -> None:
    server = f'{MANAGED}max_body = "3MiB"\nmax_header = "128KiB"\ndrain_delay = "2s"\nkeep_alive_timeout = "20s"\n'
    text = generate(
        HAPROXY, describe(f'[server]\n{server}[health]\npath = "/a b"\n'), instances=("10.0.0.5:80",), read_timeout=7.0
    )
    for line in (
        "timeout server 7s",
        "tune.bufsize 135168",
        "timeout http-keep-alive 20s",
        "http-request deny deny_status 413 if { req.body_size gt 3145728 }",
        "http-check send meth GET uri /a%20b/ready ver HTTP/1.1 hdr Host localhost",
        "default-server check inter 400ms fastinter 200ms downinter 400ms fall 2 rise 1",
        "server instance-1 10.0.0.5:80 port 9100",
    ):
        assert f"    {line}\n" in text
